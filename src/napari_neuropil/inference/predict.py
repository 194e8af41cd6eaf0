"""Network x image: tiled prediction of one block, blended.

Memory is bounded by the block: one float32 accumulator per output channel. On running out of
device memory the batch, then the tile, is halved, the block begins again and a notice says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.inference.tiles import blending_weight, tiles_touching, without_margin

MINIMUM_TILE: Shape = (4, 32, 32)
"""Below this a halved tile would no longer hold a neurite's cross-section."""

View = tuple[int, int, int]

VIEWS: Final[tuple[View, ...]] = ((0, 1, 2), (1, 0, 2), (2, 1, 0))
"""Orders of the axes, the section axis first; the first is the volume's own."""

_MULTIPLE = 16
"""Networks pool y and x up to four times; tiles are padded to multiples of this."""

_SMALLEST_PASS = 32
"""Instance norm needs more than one voxel at the deepest level."""


@dataclass(frozen=True, slots=True)
class TilingPlan:
    """How a volume is predicted.

    Parameters
    ----------
    tile_shape : Shape
        One pass, voxels of the grid the network sees. Instance norm makes it matter.
    overlap : float
        Smallest share that neighbouring tiles have in common.
    views : int
        1, or 3: the network also looks along y and x, and the lowest value counts.
    batch : int
        Tiles in one pass.
    device : str
        Torch device.
    half : bool
        Autocast to half precision (GPU only).
    channels_last : bool
        Memory format of the convolutions.
    threads : int
        Threads of one pass on the CPU.
    margin : Shape
        Outermost voxels of a tile that do not count, except at the volume's faces: where values
        tell of pairs of voxels, a tile knows nothing of pairs that leave it.
    """

    tile_shape: Shape
    overlap: float = 0.25
    views: int = 1
    batch: int = 1
    device: str = "cpu"
    half: bool = False
    channels_last: bool = False
    threads: int = 1
    margin: Shape = (0, 0, 0)


class Predictor:
    """Predicts blocks of a volume with one network.

    Parameters
    ----------
    network : Module
        Maps (B, 1, Z, Y, X) in [0, 1] to a tuple of probabilities (B, C_i, Z, Y, X).
    plan : TilingPlan
        How; `Predictor.plan` holds what remains of it after memory ran out.
    channels : list of int, optional
        Which of the network's channels are returned; None means all. With three views the first
        three must be the nearest affinities along z, y, x.
    notice : callable
        Told of every change to the plan.
    """

    def __init__(
        self,
        network: nn.Module,
        plan: TilingPlan,
        channels: list[int] | None = None,
        notice: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self.plan = plan
        self.channels = channels
        self.notice = notice
        self.device = torch.device(plan.device)
        form = torch.channels_last_3d if plan.channels_last else torch.contiguous_format
        self.network = network.eval().to(self.device).to(memory_format=form)  # type: ignore[call-overload]

    def tiles_touching(self, roi: Roi, shape: Sequence[int]) -> list[Roi]:
        """Return the tiles of the volume's grid that meet `roi`."""
        return [tile for view in self._views() for tile in self._tiles_of(view, roi, shape)]

    def _views(self) -> tuple[View, ...]:
        return VIEWS[: self.plan.views]

    def _tiles_of(self, view: View, roi: Roi, shape: Sequence[int]) -> list[Roi]:
        tile = turned_tile(self.plan.tile_shape, view)
        margin = turned_tile(self.plan.margin, view)
        return tiles_touching(roi, shape, tile, self.plan.overlap, margin)

    def halo_roi(self, roi: Roi, shape: Sequence[int]) -> Roi:
        """Return the box of the volume that `predict` needs to write `roi`."""
        tiles = self.tiles_touching(roi, shape)
        start = [min(t.start[a] for t in tiles) for a in range(3)]
        stop = [max(t.stop[a] for t in tiles) for a in range(3)]
        return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def predict(
        self,
        image: NDArray[np.float32],
        image_roi: Roi,
        roi: Roi,
        shape: Sequence[int],
        *,
        report: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> NDArray[np.float32]:
        """Predict one block.

        Parameters
        ----------
        image : ndarray of float32, (Z, Y, X)
            Grey values in [0, 1] of `image_roi`.
        image_roi : Roi
            Where `image` lies; must hold `halo_roi(roi, shape)`.
        roi : Roi
            The block to predict.
        shape : sequence of int
            The whole volume's, which the tile grid belongs to.
        report : callable
            Called with (tiles done, tiles in all); may raise to stop.

        Returns
        -------
        ndarray of float32, (C, Z, Y, X)
            The chosen channels of the network's outputs, for `roi`.

        Raises
        ------
        NeuropilError
            If even the smallest tile does not fit into the device's memory.
        """
        while True:
            try:
                return self._look_from_all_sides(image, image_roi, roi, shape, report)
            except (torch.OutOfMemoryError, MemoryError) as error:
                self._shrink(error)
            except RuntimeError as error:
                # The CPU allocator and oneDNN raise plain RuntimeErrors.
                if not any(word in str(error) for word in ("alloc", "memory")):
                    raise
                self._shrink(error)

    def _look_from_all_sides(
        self,
        image: NDArray[np.float32],
        image_roi: Roi,
        roi: Roi,
        shape: Sequence[int],
        report: Callable[[int, int], None],
    ) -> NDArray[np.float32]:
        count = len(self.tiles_touching(roi, shape))
        before, lowest = 0, None
        for view in self._views():
            tiles = self._tiles_of(view, roi, shape)

            def tell(done: int, before: int = before) -> None:
                report(before + done, count)

            seen = self._predict(image, image_roi, roi, shape, view, tiles, tell)
            lowest = seen if lowest is None else np.minimum(lowest, seen, out=lowest)
            before += len(tiles)
        assert lowest is not None  # noqa: S101 - there is at least one view
        return lowest

    def _predict(
        self,
        image: NDArray[np.float32],
        image_roi: Roi,
        roi: Roi,
        shape: Sequence[int],
        view: View,
        tiles: list[Roi],
        report: Callable[[int], None],
    ) -> NDArray[np.float32]:
        weight = blending_weight(tiles[0].shape, self.plan.overlap)
        margin = turned_tile(self.plan.margin, view)
        back = [-o for o in image_roi.start]
        total: NDArray[np.float32] | None = None
        weights = np.zeros(roi.shape, np.float32)
        for first in range(0, len(tiles), self.plan.batch):
            batch = tiles[first : first + self.plan.batch]
            grey = np.stack([image[tile.shifted(back).slices] for tile in batch])
            outputs = turn_back(self._pass(turn(grey, view)), view)
            if total is None:
                total = np.zeros((outputs.shape[1], *roi.shape), np.float32)
            for tile, output in zip(batch, outputs, strict=True):
                own = without_margin(weight, tile, shape, margin)
                _add_part(total, weights, tile, roi, output, own)
            report(min(first + len(batch), len(tiles)))
        assert total is not None  # noqa: S101 - a block touches at least one tile
        total /= weights
        return total

    def _pass(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one forward pass on (B, Z, Y, X), padded to what the network can pool."""
        padding = [(0, 0), (0, 0), *((0, self._missing(n)) for n in grey.shape[2:])]
        padded = np.pad(grey, padding, mode="symmetric") if np.any(padding) else grey
        x = torch.from_numpy(np.ascontiguousarray(padded))[:, None].to(self.device)
        if self.plan.channels_last:
            x = x.to(memory_format=torch.channels_last_3d)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, enabled=self.plan.half, dtype=_half_of(self.device)),
        ):
            outputs: tuple[Tensor, ...] = self.network(x)
        joined = torch.cat([o.float() for o in outputs], dim=1)
        if self.channels is not None:
            joined = joined[:, self.channels]
        return joined[..., : grey.shape[2], : grey.shape[3]].cpu().numpy()

    def _missing(self, length: int) -> int:
        """Return the pixels that a tile's y or x lacks."""
        return max(_SMALLEST_PASS - length, -length % _MULTIPLE)

    def _shrink(self, cause: Exception) -> None:
        plan = self.plan
        if plan.batch > 1:
            self.plan = replace(plan, batch=plan.batch // 2)
            self.notice(
                f"Out of memory: {self.plan.batch} tiles at a time instead of {plan.batch}."
            )
            return
        z, y, x = (max(m, n // 2) for m, n in zip(MINIMUM_TILE, plan.tile_shape, strict=True))
        smaller = (plan.tile_shape[0], y, x) if (y, x) != plan.tile_shape[1:] else (z, y, x)
        if smaller == plan.tile_shape:
            raise NeuropilError(
                f"Out of memory even with the smallest tile {plan.tile_shape}: {cause}",
                "",
                "close other programs, or choose another device.",
            ) from cause
        self.plan = replace(plan, tile_shape=smaller)
        self.notice(
            f"Out of memory: tile {smaller} instead of {plan.tile_shape}; results differ slightly "
            "from those of the full tile."
        )


def turned_tile(tile_shape: Shape, view: View) -> Shape:
    """Return the box, in the volume's own axes, that a view's tile covers."""
    z, y, x = (tile_shape[view.index(axis)] for axis in range(3))
    return z, y, x


def turn(grey: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Bring (B, Z, Y, X) into a view's order of axes."""
    return grey.transpose(0, *(1 + axis for axis in view))


def turn_back(outputs: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Bring (B, C, ...) of a view back to (B, C, Z, Y, X), affinities to their own axes."""
    if view == VIEWS[0]:
        return outputs
    own = [view.index(axis) for axis in range(3)]
    channels = [*own, *range(3, outputs.shape[1])]
    return outputs[:, channels].transpose(0, 1, *(2 + axis for axis in own))


def _half_of(device: torch.device) -> torch.dtype:
    # bfloat16 keeps float32's range, which sums over whole tiles (instance norm) need.
    return torch.bfloat16 if device.type in ("cuda", "cpu") else torch.float16


def _add_part(
    total: NDArray[np.float32],
    weights: NDArray[np.float32],
    tile: Roi,
    roi: Roi,
    output: NDArray[np.float32],
    weight: NDArray[np.float32],
) -> None:
    part = tile.intersection(roi)
    if part is None:
        return
    inside = part.shifted([-o for o in tile.start]).slices
    into = part.shifted([-o for o in roi.start]).slices
    total[(slice(None), *into)] += output[(slice(None), *inside)] * weight[inside]
    weights[into] += weight[inside]
