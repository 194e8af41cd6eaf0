"""Plans and outcomes of a fine-tuning in words. No Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from napari_neuropil.plugin.dendrites.dendrite_text import count_text

_MOST_IDS: Final = 6
_NAMES: Final = {
    "box": "by a box",
    "point": "by a point",
    "ap50": "average precision",
    "precision": "precision",
    "recall": "recall",
}
_MINUTE: Final = 60


def plan_text(plan: Mapping[str, Any]) -> str:
    """Return what a segmenter would learn from and be measured on."""
    lines = [
        f"Learns from {_objects(plan, 'training')}",
        f"Measured on {_objects(plan, 'held_out')}; the network never learns from these",
    ]
    if plan.get("pseudo_objects"):
        lines.append(f"Joined by {count_text(plan['pseudo_objects'], 'cross-section')} unchecked")
    if plan.get("left_out"):
        lines.append(f"Left out: {count_text(plan['left_out'], 'cross-section')} between the two")
    done = plan.get("done_steps") or 0
    from_where = f", from step {done} on" if done else ""
    device = f" on {plan['device']}" if plan.get("device") else ""
    trainer = " by micro_sam's trainer" if plan.get("trainer") == "micro_sam" else ""
    lines.append(f"{count_text(plan['steps'], 'step')}{trainer}{device}{from_where}")
    return "\n".join([*lines, *(str(notice) for notice in plan.get("notices") or ())])


def detector_plan_text(plan: Mapping[str, Any]) -> str:
    """Return what a detector would learn from and be measured on."""
    segments = plan.get("segments")
    whose = "all labels" if segments is None else count_text(segments, "segment")
    lines = [
        f"Learns to find {whose} in {_span(plan['training_sections'])}",
        f"Measured on {_span(plan['held_out_sections'])}, which it never learns from",
        f"{plan['epochs']} times through these sections",
    ]
    return "\n".join([*lines, *(str(notice) for notice in plan.get("notices") or ())])


def outcome_text(outcome: Mapping[str, Any]) -> str:
    """Return whether the tuned network is better, by how much, and why it is used or not."""
    accepted = bool(outcome.get("accepted"))
    verdict = "Better" if accepted else f"Not better ({outcome.get('verdict') or 'no gain'})"
    lines = [f"{verdict} on the held-out part, before and after:"]
    before, after = outcome.get("before") or {}, outcome.get("after") or {}
    lines += [
        f"   {_NAMES[name]}: {before[name]:.3f} → {after[name]:.3f}"
        for name in _NAMES
        if name in before and name in after
    ]
    gain, low, high = (float(outcome.get(name) or 0.0) for name in ("gain", "low", "high"))
    what = _measured(outcome)
    lines.append(f"   gain {gain:+.3f}, between {low:+.3f} and {high:+.3f} (95 %), on {what}")
    if not accepted:
        lines.append("Rolled back: nothing was written, and the one in use stays.")
    seconds = float(outcome.get("seconds") or 0.0)
    took = f"{seconds / _MINUTE:.1f} min" if seconds >= _MINUTE else f"{seconds:.0f} s"
    steps = outcome.get("steps")
    lines.append(f"{count_text(steps, 'step')}, {took}" if steps else took)
    return "\n".join(lines)


def _measured(outcome: Mapping[str, Any]) -> str:
    if outcome.get("objects") is None:
        return count_text(int(outcome.get("sections") or 0), "section")
    objects = count_text(int(outcome["objects"]), "cross-section")
    return f"{objects} of {count_text(int(outcome.get('segments') or 0), 'segment')}"


def _objects(plan: Mapping[str, Any], part: str) -> str:
    segments, sections = plan[f"{part}_segments"], plan[f"{part}_sections"]
    objects = count_text(plan[f"{part}_objects"], "cross-section")
    count = count_text(len(segments), "segment")
    named = f" ({_listed(segments)})" if len(segments) <= _MOST_IDS else ""
    where = count_text(len(sections), "section")
    span = f" ({sections[0]}-{sections[-1]})" if len(sections) > 1 else f" ({_listed(sections)})"
    return f"{objects} of {count}{named} in {where}{span}"


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(str(number) for number in ids)


def _span(sections: Sequence[int]) -> str:
    first, end = sections
    return f"section {first}" if end - first == 1 else f"sections {first}-{end - 1}"
