"""How masks are carried from section to section, and what they are carried through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import Shape
from napari_neuropil.prompts.mask_prompts import MaskPrompting
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.segmenter import ImageEmbedding


@dataclass(frozen=True, slots=True)
class PropagationSettings:
    """How masks are carried on.

    Parameters
    ----------
    prompting : MaskPrompting
        What of a mask becomes the prompt. Its box alone by default: a mask also hands on its
        errors, so that one leak fills a neighbour through all sections. With the compact SAM, on
        sections it was trained on, leaks were 1.53 of a dendrite with box, mask and point, 0.43
        with the box; recall was 0.70 and 0.61, Dice 0.59 and 0.64.
    min_overlap : float
        Least intersection over union with the section before. High values stop at every bend:
        0.8 loses half of a neurite even with a perfect segmenter.
    sure_overlap : float
        Below it the way back is tried: the mask must lead to where it came from.
    max_area_ratio : float
        Largest jump of the area, up or down.
    min_score : float
        Least quality the segmenter expects of its mask.
    min_area : int
        Smaller pieces are not carried on.
    branches : bool
        Whether branches are looked for. Takes three times as long.
    min_containment : float
        Share of a branch that lies inside the piece it leaves.
    max_growth : float
        Area of a branch's second section over that of its first one.
    agreement : float
        Overlap from which on two masks count as the same.

    Raises
    ------
    SettingsError
        If a number is out of bounds.
    """

    prompting: MaskPrompting = field(default_factory=lambda: MaskPrompting(mask=False, points=0))
    min_overlap: float = 0.2
    sure_overlap: float = 0.5
    max_area_ratio: float = 2.5
    min_score: float = 0.0
    min_area: int = 16
    branches: bool = False
    min_containment: float = 0.7
    max_growth: float = 1.2
    agreement: float = 0.5

    def __post_init__(self) -> None:
        """Refuse numbers out of bounds."""
        shares = {
            "min_overlap": self.min_overlap,
            "sure_overlap": self.sure_overlap,
            "min_score": self.min_score,
            "min_containment": self.min_containment,
            "agreement": self.agreement,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise SettingsError(f"{name} of {value}", "a share between 0 and 1")
        if self.max_area_ratio < 1 or self.max_growth <= 0 or self.min_area < 1:
            raise SettingsError(
                f"max_area_ratio {self.max_area_ratio}, max_growth {self.max_growth}, "
                f"min_area {self.min_area}",
                "at least 1, above 0, at least 1",
            )


@dataclass(frozen=True, slots=True)
class Sections:
    """The sections of a volume.

    Parameters
    ----------
    shape : tuple of int
        Of the volume, (Z, Y, X).
    embedding_of : callable
        Gives the embedding of a section; may take long. Neighbours are asked for again and again,
        so it should keep at least three.
    shift_between : callable, optional
        Gives (y, x): where the second section shows what the first one shows at (0, 0). For
        volumes that are badly aligned.
    """

    shape: Shape
    embedding_of: Callable[[int], ImageEmbedding]
    shift_between: Callable[[int, int], tuple[float, float]] | None = None

    @property
    def section_shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.shape[1], self.shape[2]

    def has(self, z: int) -> bool:
        """Whether there is such a section."""
        return 0 <= z < self.shape[0]

    def moved(self, mask: PackedMask, here: int, there: int) -> PackedMask | None:
        """Return where a mask of one section is expected in another; None outside."""
        if self.shift_between is None:
            return mask
        return mask.moved(self.shift_between(here, there), self.section_shape)
