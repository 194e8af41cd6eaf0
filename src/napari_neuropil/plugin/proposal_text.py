"""A proposal in words: what becomes of which segment, how large it is, how strong the contact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_neuropil.geometry import VoxelSize
    from napari_neuropil.proofreading import ProofreadingSession, Proposal

_MOST: Final = 4


def size_text(voxels: int, voxel_size: VoxelSize) -> str:
    """Return for example ``12 400 voxels, 0.031 µm³``."""
    unit = "voxel" if voxels == 1 else "voxels"
    count = f"{voxels:,}".replace(",", " ")
    return f"{count} {unit}, {voxels * voxel_size.volume_um3:.3g} µm³"


def proposal_text(session: ProofreadingSession, proposal: Proposal) -> str:
    """Return what an edit would do, a line for each segment that comes of it.

    Parameters
    ----------
    session : ProofreadingSession
        In the state the proposal was worked out on.
    proposal : Proposal
        Any kind.
    """
    before = [int(s) for s in np.unique(proposal.effect.before) if s]
    after = _sizes_after(session, proposal)
    touched = list(dict.fromkeys([*_segments_of(session, proposal), *before]))
    lines = [_heading(proposal, [segment for segment in touched if segment])]
    shown = sorted(after, key=lambda s: (-after[s], s))
    size = session.info.voxel_size_nm
    lines += [f"  {segment}: {size_text(after[segment], size)}" for segment in shown[:_MOST]]
    if len(shown) > _MOST:
        lines.append(f"  and {len(shown) - _MOST} more")
    if not shown:
        lines[0] += " background"
    contact = _contact_text(session, proposal)
    return "\n".join([*lines, *([contact] if contact else []), *proposal.notices])


def _heading(proposal: Proposal, touched: list[int]) -> str:
    if proposal.kind != "draw":
        return f"{_names(touched)} {'becomes' if len(touched) == 1 else 'become'}"
    if not touched:
        return "The drawing becomes"
    names = _names(sorted(touched))
    return f"The drawing and {names[0].lower()}{names[1:]} become"


def _segments_of(session: ProofreadingSession, proposal: Proposal) -> list[int]:
    """Return the segments of the sides as they are now; pieces have none yet."""
    known = [side[side < len(session.lookup)] for side in proposal.sides]
    return [int(session.lookup[int(side[0])]) for side in known if len(side)]


def _sizes_after(session: ProofreadingSession, proposal: Proposal) -> dict[int, int]:
    """Return the voxels of each segment that the sides' fragments belong to afterwards."""
    effect = proposal.effect
    fragments = np.concatenate(proposal.sides).astype(np.intp)
    count = max([len(session.lookup), *(split.first + split.count for split in effect.splits)])
    # As long as the lookup: cheaper than searching 10^5 fragments one by one.
    segments = np.zeros(count, np.uint64)
    voxels = np.zeros(count, np.int64)
    known = fragments[fragments < len(session.lookup)]
    segments[known] = session.lookup[known]
    voxels[known] = session.table.size[known]
    segments[effect.fragments.astype(np.intp)] = effect.after
    for split in effect.splits:
        counts = np.bincount(split.labels.reshape(-1), minlength=split.count + 1)
        voxels[split.first : split.first + split.count] = counts[1:]
    found, which = np.unique(segments[fragments], return_inverse=True)
    totals = np.zeros(len(found), np.int64)
    np.add.at(totals, which, voxels[fragments])
    return {int(s): int(n) for s, n in zip(found, totals, strict=True) if s}


def _contact_text(session: ProofreadingSession, proposal: Proposal) -> str:
    pairs = np.concatenate((proposal.effect.joined, proposal.effect.cut))
    if not len(pairs) or proposal.kind not in ("merge", "split", "detach", "isolate"):
        return ""
    score, area = _strength(session, proposal, pairs)
    if not area:
        return ""
    what = "Contact" if len(pairs) == 1 else f"{len(pairs)} contacts"
    return f"{what}: score {score:.2f}, {area:,} faces".replace(",", " ").replace("  ", ", ", 1)


def _strength(
    session: ProofreadingSession, proposal: Proposal, pairs: NDArray[np.uint64]
) -> tuple[float, int]:
    """Return the mean score of some contacts, weighted by area, and their area."""
    links = proposal.effect.links
    known = session.graph.contacts_of(np.unique(pairs[:, 0][pairs[:, 0] < len(session.lookup)]))
    a = np.concatenate((known.a, links.contacts[:, 0]))
    b = np.concatenate((known.b, links.contacts[:, 1]))
    score = np.concatenate((known.score, links.score)).astype(float)
    area = np.concatenate((known.area, links.area))
    wanted = {(int(p), int(q)) for p, q in pairs}
    mine = np.array([(int(p), int(q)) in wanted for p, q in zip(a, b, strict=True)], bool)
    total = int(area[mine].sum())
    return (float((score[mine] * area[mine]).sum() / total) if total else 0.0), total


def _names(segments: list[int]) -> str:
    shown = [str(s) for s in segments[:_MOST]]
    if len(segments) > _MOST:
        shown.append(f"{len(segments) - _MOST} more")
    if len(shown) < 2:
        return f"Segment {''.join(shown)}"
    return f"Segments {', '.join(shown[:-1])} and {shown[-1]}"
