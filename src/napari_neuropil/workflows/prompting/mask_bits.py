"""A mask on its way between two programs: bits as text. No torch."""

from __future__ import annotations

import base64
import binascii
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from napari_neuropil.prompts.packed_mask import PackedMask

PixelBox = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt]

_MOST_PIXELS: Final = 1 << 30


class Message(BaseModel):
    """What travels: nothing but its fields, and never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MaskBits(Message):
    """A mask that is not empty, cropped to its box."""

    box: PixelBox = Field(description="y0, x0, y1, x1 in the section.")
    bits: str = Field(
        description="The box row after row, eight pixels a byte, the first pixel in the highest "
        "bit (numpy.packbits of the flat box), as base64."
    )

    @classmethod
    def of(cls, mask: PackedMask) -> MaskBits:
        """Return a mask as it travels."""
        return cls(box=mask.box, bits=base64.b64encode(mask.bits.tobytes()).decode("ascii"))

    def packed(self) -> PackedMask:
        """Return the mask, its box drawn tight."""
        mask = PackedMask.of(self._crop(), self.box[:2])
        if mask is None:
            raise ValueError("a mask without a pixel")
        return mask

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.packed()
        return self

    def _crop(self) -> NDArray[np.bool_]:
        y0, x0, y1, x1 = self.box
        height, width = y1 - y0, x1 - x0
        if min(height, width) < 1 or height * width > _MOST_PIXELS:
            raise ValueError(f"a mask in the box {self.box}")
        try:
            octets = base64.b64decode(self.bits, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"bits that are no base64: {error}") from error
        # Counted before anything is unpacked: a box may claim any size.
        if len(octets) != -(-height * width // 8):
            raise ValueError(f"{len(octets)} bytes for a mask of {height} x {width} pixels")
        flat = np.unpackbits(np.frombuffer(octets, np.uint8), count=height * width)
        return flat.reshape(height, width).view(np.bool_)


class SectionBits(Message):
    """A section and what an object looks like there; null: it is not there."""

    z: NonNegativeInt
    mask: MaskBits | None


class PlacedBits(Message):
    """A section and a mask in it."""

    z: NonNegativeInt
    mask: MaskBits
