"""What the queue panel says of a candidate and of the queue. No Qt."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from napari_neuropil.proofreading.scorers import SCORERS

if TYPE_CHECKING:
    from napari_neuropil.proofreading.candidate_table import Candidate

_FIRST: Final = "#ff6b60"
_SECOND: Final = "#5c9dff"
_RECENT: Final = 50
_QUIET: Final = 0.005
"""Log-odds below this are not worth a word."""


def candidate_html(candidate: Candidate, sizes: Sequence[float], answer: str | None) -> str:
    """Return a candidate as rich text: the question, the pieces in their colours, the evidence.

    Parameters
    ----------
    candidate : Candidate
        What is shown.
    sizes : sequence of float
        Of both pieces, cubic micrometres.
    answer : str or None
        What was answered before, if it was.
    """
    first, second = (
        f'<span style="color:{colour}">■</span> {name} <i>({size:.3g} µm³)</i>'
        for colour, name, size in zip((_FIRST, _SECOND), _pieces(candidate), sizes, strict=True)
    )
    if candidate.kind == "split_error":
        question = "Are these two one neuron?"
    else:
        question = f"Is {candidate.segment_a} two neurons?"
    lines = [
        f"<b>{question}</b>",
        f"{first}<br>{second}",
        f"Probability of an error <b>{candidate.probability:.0%}</b> · expected gain "
        f"<b>{candidate.gain:.3g}</b> bits of VI",
        f'<span style="color:#9aa0a8">{evidence_text(candidate)}</span>',
    ]
    if answer is not None:
        lines.append(f"Answered before: <b>{answer}</b>")
    return "<br>".join(lines)


def _pieces(candidate: Candidate) -> tuple[str, str]:
    if candidate.kind == "split_error":
        return f"segment {candidate.segment_a}", f"segment {candidate.segment_b}"
    return f"part with fragment {candidate.a}", f"part with fragment {candidate.b}"


def evidence_text(candidate: Candidate) -> str:
    """Return what each scorer says, the strongest first, in log-odds."""
    parts = sorted(candidate.parts.items(), key=lambda part: -abs(part[1]))
    said = [
        f"{SCORERS[name].title if name in SCORERS else name} {value:+.2f}"
        for name, value in parts
        if abs(value) >= _QUIET
    ]
    return " · ".join(said)


def stop_text(gain: float) -> str:
    """Return the stop line.

    Parameters
    ----------
    gain : float
        Expected change of VI by all that is open, bits.
    """
    return f"The rest is expected to change VI by less than {gain:.3g} bits."


def pace_text(seconds: Sequence[float]) -> str:
    """Return the typical time of the last decisions, empty without any."""
    if not seconds:
        return ""
    return f" · {statistics.median(seconds[-_RECENT:]):.1f} s each"
