"""Neurites as tubes that grow into free space.

Dendrites (with spines) are laid first, then axons start in the holes and steer, step by step, to
where there is most room, so that they wind between what is already there and the space fills.
What stays free becomes glia. The free distance lives on a coarse grid; the work is linear in the
volume.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Kind = Literal["dendrite", "axon", "glia"]

_STEP = 40.0  # nm, coarse grid
_MARGIN = 200.0  # nm grown beyond the volume, so that its faces cut neurites anywhere
_REACH = 160.0  # nm, free distances above are not told apart
_DENDRITES = 0.32  # fraction of the volume they may take
_HOLES = 0.10  # fraction left to glia
_TAKEN = 30.0  # nm, a place with less free distance counts as filled


@dataclass(frozen=True)
class Tube:
    """A polyline with a radius at each point.

    Parameters
    ----------
    points : ndarray of float64, (N, 3)
        Positions (z, y, x), nm.
    radii : ndarray of float64, (N,)
        nm.
    """

    points: Vector
    radii: Vector


@dataclass
class Neurite:
    """One cell process: a main tube first, then its spines.

    Parameters
    ----------
    kind : {"dendrite", "axon", "glia"}
        What it is.
    tubes : list of Tube
        Its parts.
    """

    kind: Kind
    tubes: list[Tube] = field(default_factory=list)


def grow_neurites(extent: Vector, rng: np.random.Generator) -> list[Neurite]:
    """Return neurites that fill a box from the origin to `extent`.

    Parameters
    ----------
    extent : ndarray of float64, (3,)
        Size of the box, nm.
    rng : numpy.random.Generator
        Source of the numbers.
    """
    space = _Space(extent)
    neurites = _grow_dendrites(space, rng)
    failures = 0
    while failures < 40 and space.free_fraction() > _HOLES:
        neurite = _grow_axon(space, rng)
        if neurite is None:
            failures += 1
        else:
            neurites.append(neurite)
    return neurites


class _Space:
    """Free distance, nm, on a coarse grid over the box and its margin."""

    def __init__(self, extent: Vector) -> None:
        self.extent = extent
        self.low = np.full(3, -_MARGIN)
        counts = np.ceil((extent + 2 * _MARGIN) / _STEP).astype(int) + 1
        self.free = np.full(counts, _REACH)
        self.tried = np.zeros(counts, dtype=bool)
        inner = [
            slice(int(_MARGIN / _STEP), int(np.ceil((_MARGIN + e) / _STEP)) + 1) for e in extent
        ]
        self._inside = (inner[0], inner[1], inner[2])

    def free_fraction(self) -> float:
        """Return the part of the box that no tube has taken."""
        return float((self.free[self._inside] > _TAKEN).mean())

    def at(self, points: Vector) -> Vector:
        """Return the free distance at `points`, (N, 3) nm; the faces go on outwards."""
        index = np.rint((points - self.low) / _STEP).astype(int)
        np.clip(index, 0, np.array(self.free.shape) - 1, out=index)
        return np.asarray(self.free[index[:, 0], index[:, 1], index[:, 2]])

    def contains(self, point: Vector) -> bool:
        """Tell whether a point lies in the box or its margin."""
        return bool(((point >= self.low) & (point <= self.extent + _MARGIN)).all())

    def draw_hole(self, rng: np.random.Generator) -> Vector | None:
        """Return a place with much room, or None where none is left untried."""
        room = np.where(self.tried, 0.0, self.free)[self._inside]
        room = np.where(room > _TAKEN, room, 0.0) ** 2
        total = room.sum()
        if total <= 0:
            return None
        cell = np.searchsorted(np.cumsum(room), rng.random() * total)
        index = np.array(np.unravel_index(min(int(cell), room.size - 1), room.shape))
        index += [s.start for s in self._inside]
        self.tried[tuple(index)] = True
        return np.asarray(self.low + index * _STEP + rng.uniform(-0.5, 0.5, 3) * _STEP)

    def take(self, tube: Tube) -> None:
        """Lower the free distance around a tube."""
        for point, radius in zip(tube.points, tube.radii, strict=True):
            reach = radius + _REACH
            first = np.maximum(np.floor((point - reach - self.low) / _STEP), 0).astype(int)
            last = np.ceil((point + reach - self.low) / _STEP).astype(int) + 1
            box = tuple(slice(a, max(a, b)) for a, b in zip(first, last, strict=True))
            part = self.free[box]
            axes = [
                (np.arange(a, a + n) * _STEP + low - p) ** 2
                for a, n, low, p in zip(first, part.shape, self.low, point, strict=True)
            ]
            square = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]
            np.minimum(part, np.sqrt(square) - radius, out=part)


def _grow_dendrites(space: _Space, rng: np.random.Generator) -> list[Neurite]:
    dendrites: list[Neurite] = []
    in_plane = float(max(space.extent[1:]))
    for _ in range(200):
        if 1 - space.free_fraction() > _DENDRITES:
            break
        start = rng.uniform(0, 1, 3) * space.extent
        radius = float(np.clip(rng.lognormal(np.log(330), 0.35), 220, min(800, 0.2 * in_plane)))
        if space.at(start[None])[0] < min(radius, 0.9 * _REACH):
            continue
        path = _walk_both_ways(space, start, radius, rng, bend=0.12)
        if len(path) < 3:
            continue
        wave = _waves(path, 700.0, rng)
        trunk = Tube(path, radius * (1 + 0.15 * wave))
        dendrite = Neurite("dendrite", [trunk])
        space.take(trunk)
        dendrites.append(dendrite)
    for dendrite in dendrites:
        for spine in _grow_spines(space, dendrite.tubes[0], rng):
            dendrite.tubes.append(spine)
            space.take(spine)
    return dendrites


def _grow_spines(space: _Space, trunk: Tube, rng: np.random.Generator) -> list[Tube]:
    """Return thin necks with a round head, about one for each 700 nm of trunk."""
    length = np.linalg.norm(np.diff(trunk.points, axis=0), axis=1).sum()
    spines = []
    for _ in range(rng.poisson(length / 700.0)):
        at = int(rng.integers(len(trunk.points)))
        away = _unit(rng.standard_normal(3))
        root = trunk.points[at] + away * trunk.radii[at] * 0.7
        path = _walk(space, root, away, 45.0, rng, bend=0.3, blocked=-1e9)
        count = min(len(path), int(rng.integers(4, 11)))
        if count < 4:
            continue
        head = rng.uniform(110, 200)
        radii = np.full(count, rng.uniform(40, 60))
        radii[-3:] = np.maximum(radii[-3:], head * np.array([0.75, 1.0, 0.7]))
        spines.append(Tube(path[:count], radii))
    return spines


def _grow_axon(space: _Space, rng: np.random.Generator) -> Neurite | None:
    start = space.draw_hole(rng)
    if start is None:
        return None
    radius = float(np.clip(rng.lognormal(np.log(95), 0.35), 60, 170))
    radius = min(radius, float(space.at(start[None])[0]) + 25)
    path = _walk_both_ways(space, start, radius, rng, bend=0.35)
    if len(path) < 4 or np.linalg.norm(np.diff(path, axis=0), axis=1).sum() < 3 * radius:
        return None
    bulge = np.clip(_waves(path, 450.0, rng), -0.5, 2.2)
    radii = radius * (1 + 0.45 * bulge)
    # A varicosity swells only as far as there is room: a big tube would cut its neighbours apart.
    radii = np.clip(np.minimum(radii, space.at(path) + 25), 50, None)
    tube = Tube(path, radii)
    space.take(tube)
    return Neurite("axon", [tube])


def _walk_both_ways(
    space: _Space, start: Vector, radius: float, rng: np.random.Generator, bend: float
) -> Vector:
    direction = _unit(rng.standard_normal(3))
    ahead = _walk(space, start, direction, radius, rng, bend=bend)
    behind = _walk(space, start, -direction, radius, rng, bend=bend)
    return np.concatenate([behind[:0:-1], ahead])


def _walk(
    space: _Space,
    start: Vector,
    direction: Vector,
    radius: float,
    rng: np.random.Generator,
    *,
    bend: float,
    blocked: float = -10.0,
) -> Vector:
    """Step to the roomiest of a few directions until the box ends or nothing is free.

    `bend` is the width of the cone looked at; `blocked` the free distance, nm, that ends it.
    """
    points = [start]
    step = max(60.0, 0.5 * radius)
    momentum = direction
    while space.contains(points[-1]) and len(points) < 400:
        choices = momentum + bend * rng.standard_normal((8, 3))
        choices /= np.linalg.norm(choices, axis=1, keepdims=True)
        room = space.at(points[-1] + choices * (step + 0.5 * min(radius, _REACH)))
        score = np.minimum(room, 1.2 * radius) + 0.25 * radius * (choices @ momentum)
        best = int(np.argmax(score))
        if room[best] < blocked:
            break
        momentum = _unit(0.5 * momentum + 0.5 * choices[best])
        points.append(points[-1] + momentum * step)
    return np.array(points)


def _waves(path: Vector, length: float, rng: np.random.Generator) -> Vector:
    """Return smooth normal numbers along a path, with hills about `length` nm apart."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    knots = np.arange(0, arc[-1] + 2 * length, length / 2)
    return np.interp(arc + rng.random() * length / 2, knots, rng.standard_normal(len(knots)))


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / np.linalg.norm(vector))
