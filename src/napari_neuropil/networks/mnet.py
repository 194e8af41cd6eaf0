"""MNet: a grid of 2D and 3D convolutions for volumes of any anisotropy.

Every node runs the same input through a 2D block (1x3x3) and a 3D block (3x3x3). Along the 2D
way only y and x are pooled, along the 3D way z too, so a path through the grid exists for every
ratio of section thickness to pixel size. Streams that meet are merged by their absolute
difference. One encoder, two decoders: affinities and foreground.

Sources: SegNeuron (MICCAI 2024, paper 0518), section 2.3; MNet (IJCAI 2022), section 3. The names
of nodes and tensors are those of the published checkpoint, so that it loads strictly.

Cost: about 1.8 MFLOP per voxel and pass at the published width, a quarter of it at half the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

PUBLISHED_WIDTHS: Final = (32, 64, 96, 128, 256)

Z_POOL_MINIMUM: Final = 8
"""A stream with fewer sections than this is no longer pooled along z."""

# node -> (input width, output width) as indices into the widths, None for the image; blocks
_ENCODER: Final[dict[str, tuple[int | None, int, str]]] = {
    "down11": (None, 0, "23"),
    "down12": (0, 1, "23"),
    "down13": (1, 2, "23"),
    "down14": (2, 3, "23"),
    "bottleneck1": (3, 4, "2"),
    "down21": (0, 1, "23"),
    "down22": (1, 2, "23"),
    "down23": (2, 3, "23"),
    "bottleneck2": (3, 4, "23"),
    "down31": (1, 2, "23"),
    "down32": (2, 3, "23"),
    "bottleneck3": (3, 4, "23"),
    "down41": (2, 3, "23"),
    "bottleneck4": (3, 4, "23"),
    "bottleneck5": (3, 4, "3"),
}

# node -> the nodes whose 2D and 3D streams come in, None where a stream is absent
_ENCODER_INPUTS: Final[dict[str, tuple[str | None, str | None]]] = {
    "down12": ("down11", None),
    "down13": ("down12", None),
    "down14": ("down13", None),
    "bottleneck1": ("down14", None),
    "down21": (None, "down11"),
    "down22": ("down21", "down12"),
    "down23": ("down22", "down13"),
    "bottleneck2": ("down23", "down14"),
    "down31": (None, "down21"),
    "down32": ("down31", "down22"),
    "bottleneck3": ("down32", "down23"),
    "down41": (None, "down31"),
    "bottleneck4": ("down41", "down32"),
    "bottleneck5": (None, "down41"),
}

# node -> widths of the deeper and the own level, blocks
_DECODER: Final[dict[str, tuple[int, int, str]]] = {
    "up41": (4, 3, "3"),
    "up31": (4, 3, "23"),
    "up32": (3, 2, "3"),
    "up21": (4, 3, "23"),
    "up22": (3, 2, "23"),
    "up23": (2, 1, "3"),
    "up11": (4, 3, "2"),
    "up12": (3, 2, "2"),
    "up13": (2, 1, "2"),
    "up14": (1, 0, "23"),
}

# node -> the nodes that give (up 2D, skip 2D, up 3D, skip 3D)
_DECODER_INPUTS: Final[dict[str, tuple[str, str, str, str]]] = {
    "up41": ("bottleneck4", "down41", "bottleneck5", "down41"),
    "up31": ("bottleneck3", "down32", "bottleneck4", "down32"),
    "up32": ("up31", "down31", "up41", "down31"),
    "up21": ("bottleneck2", "down23", "bottleneck3", "down23"),
    "up22": ("up21", "down22", "up31", "down22"),
    "up23": ("up22", "down21", "up32", "down21"),
    "up11": ("bottleneck1", "down14", "bottleneck2", "down14"),
    "up12": ("up11", "down13", "up21", "down13"),
    "up13": ("up12", "down12", "up22", "down12"),
    "up14": ("up13", "down11", "up23", "down11"),
}

_HEAD_WIDTHS: Final = (0, 1, 1, 2, 2, 3, 3)
_NORM_EPS: Final = 1e-5
_SLOPE: Final = 0.01


class _Unit(nn.Module):
    """Convolution, instance norm, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, flat: bool) -> None:
        super().__init__()
        kernel, padding = ((1, 3, 3), (0, 1, 1)) if flat else ((3, 3, 3), (1, 1, 1))
        self.flat = flat
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, padding=padding)
        self.norm = nn.InstanceNorm3d(out_channels, eps=_NORM_EPS, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self._convolve_fast(x) if _onednn_takes(x) else self.conv(x)
        return functional.leaky_relu(self.norm(x), _SLOPE, inplace=True)

    def _convolve_fast(self, x: Tensor) -> Tensor:
        # On a CPU torch sends small single-sample convolutions to its slow kernel, and 1x3x3
        # kernels miss oneDNN's fast path; asking for oneDNN and folding the sections into the
        # batch computes the same sums in half the time.
        weight, bias = self.conv.weight, self.conv.bias
        if not self.flat:
            one = [1, 1, 1]
            return torch.mkldnn_convolution(x, weight, bias, one, one, one, 1)
        b, c, z, h, w = x.shape
        sections = x.transpose(1, 2).reshape(b * z, c, h, w)
        out = torch.mkldnn_convolution(sections, weight.squeeze(2), bias, [1, 1], [1, 1], [1, 1], 1)
        return out.reshape(b, z, -1, h, w).transpose(1, 2).contiguous()


def _onednn_takes(x: Tensor) -> bool:
    available = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return available and x.device.type == "cpu" and x.dtype == torch.float32


class _Block(nn.Module):
    """Two units; the first changes the number of channels."""

    def __init__(self, in_channels: int, out_channels: int, *, flat: bool) -> None:
        super().__init__()
        self.conv1 = _Unit(in_channels, out_channels, flat=flat)
        self.conv2 = _Unit(out_channels, out_channels, flat=flat)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x))
        return out


class _Node(nn.Module):
    """A 2D block, a 3D block or both on the same input."""

    def __init__(self, in_channels: int, out_channels: int, blocks: str) -> None:
        super().__init__()
        self.CB2d = _Block(in_channels, out_channels, flat=True) if "2" in blocks else None
        self.CB3d = _Block(in_channels, out_channels, flat=False) if "3" in blocks else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        streams = {}
        if self.CB2d is not None:
            streams["2"] = self.CB2d(x)
        if self.CB3d is not None:
            streams["3"] = self.CB3d(x)
        return streams


def _merge(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs()


def _only(streams: dict[str, Tensor], wanted: str) -> Tensor:
    """Return the wanted stream, or the node's single one."""
    return streams[wanted] if wanted in streams else next(iter(streams.values()))


def _pool(flat: Tensor | None, deep: Tensor | None) -> Tensor:
    pooled = []
    if flat is not None:
        pooled.append(functional.max_pool3d(flat, (1, 2, 2)))
    if deep is not None:
        kernel = (2, 2, 2) if deep.shape[2] >= Z_POOL_MINIMUM else (1, 2, 2)
        pooled.append(functional.max_pool3d(deep, kernel))
    return pooled[0] if len(pooled) == 1 else _merge(pooled[0], pooled[1])


class MNet(nn.Module):
    """The grid network: (B, 1, Z, Y, X) in [0, 1] to affinities and foreground.

    Parameters
    ----------
    widths : sequence of int
        Channels of the five levels; multiples of 16 are up to 20 times faster on a CPU.
    affinity_channels : int
        Affinities predicted, three in the published network.

    Notes
    -----
    Instance norm makes the result depend on the tile: its shape is part of the method.
    Y and X must be at least 16.
    """

    def __init__(
        self, widths: Sequence[int] = PUBLISHED_WIDTHS, affinity_channels: int = 3
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.affinity_channels = affinity_channels
        for name, (level_in, level_out, blocks) in _ENCODER.items():
            channels = 1 if level_in is None else self.widths[level_in]
            self.add_module(name, _Node(channels, self.widths[level_out], blocks))
        for suffix in ("", "_"):
            for name, (deeper, level, blocks) in _DECODER.items():
                channels = self.widths[deeper] + self.widths[level]
                self.add_module(name + suffix, _Node(channels, self.widths[level], blocks))
        # Only the first convolution of each head is used. The other six are remains of deep
        # supervision that the published checkpoint carries and a strict load needs.
        self.outputs = self._heads(affinity_channels)
        self.outputs2 = self._heads(1)

    def _heads(self, channels: int) -> nn.ModuleList:
        return nn.ModuleList(
            nn.Conv3d(self.widths[level], channels, 1, bias=False) for level in _HEAD_WIDTHS
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Predict probabilities.

        Parameters
        ----------
        image : Tensor
            (B, 1, Z, Y, X) in [0, 1].

        Returns
        -------
        affinities : Tensor
            (B, affinity_channels, Z, Y, X) in [0, 1], 1 = same object.
        foreground : Tensor
            (B, 1, Z, Y, X) in [0, 1], 1 = inside a neuron.
        """
        affinities, foreground = self.logits(image)
        return torch.sigmoid(affinities), torch.sigmoid(foreground)

    def logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, before the sigmoid."""
        affinities, foreground, _ = self.logits_and_features(image)
        return affinities, foreground

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return what `logits` does, and what both decoders saw.

        Returns
        -------
        affinities, foreground : Tensor
            Before the sigmoid.
        features : list of Tensor
            Of the four finest levels, (B, 2 * width, Z, Y / 2^level, X / 2^level) each: the
            decoder of the affinities, then that of the foreground.
        """
        streams = self._encode(image)
        skips = {
            name: _merge(streams[name]["2"], streams[name]["3"])
            for name in {skip for _, skip, _, _ in _DECODER_INPUTS.values()}
        }
        both = [self._decode(streams, skips, suffix) for suffix in ("", "_")]
        features = [torch.cat(level, dim=1) for level in zip(*both, strict=True)]
        return self.outputs[0](both[0][0]), self.outputs2[0](both[1][0]), features

    def _encode(self, image: Tensor) -> dict[str, dict[str, Tensor]]:
        streams: dict[str, dict[str, Tensor]] = {}
        for name in _ENCODER:
            node = self.get_submodule(name)
            if name not in _ENCODER_INPUTS:
                streams[name] = node(image)
                continue
            flat, deep = _ENCODER_INPUTS[name]
            streams[name] = node(
                _pool(
                    streams[flat]["2"] if flat else None,
                    streams[deep]["3"] if deep else None,
                )
            )
        return streams

    def _decode(
        self, encoded: dict[str, dict[str, Tensor]], skips: dict[str, Tensor], suffix: str
    ) -> list[Tensor]:
        streams = dict(encoded)
        for name in _DECODER:
            up_flat, skip, up_deep, _ = _DECODER_INPUTS[name]
            ups = _merge_resized(
                _only(streams[up_flat], "2"), _only(streams[up_deep], "3"), skips[skip].shape[2:]
            )
            joined = torch.cat([skips[skip], ups], dim=1)
            streams[name] = self.get_submodule(name + suffix)(joined)
        last = streams["up14"]
        return [
            last["2"] + last["3"],
            *(streams[name]["2"] for name in ("up13", "up12", "up11")),
        ]


def _merge_resized(flat: Tensor, deep: Tensor, size: Sequence[int]) -> Tensor:
    """Resize both streams and merge them."""

    def resize(x: Tensor) -> Tensor:
        return functional.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)

    if flat.shape == deep.shape:
        # Resizing is linear, so the difference may be taken first: half the work.
        return resize(flat - deep).abs()
    return _merge(resize(flat), resize(deep))
