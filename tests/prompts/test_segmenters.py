"""What every segmenter must do, and the table they are opened from."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_neuropil.errors import (
    CheckpointError,
    MissingExtraError,
    SettingsError,
    VolumeFormatError,
)
from napari_neuropil.networks.compact_sam import CompactSam
from napari_neuropil.networks.sam_spec import SamSpec, save_sam
from napari_neuropil.networks.vit_sam import VitSize, build_vit_sam
from napari_neuropil.prompts import _micro_sam
from napari_neuropil.prompts.classical_segmenter import (
    CLASSICAL,
    BoxFillSegmenter,
    EllipseSegmenter,
    WatershedSegmenter,
)
from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.sam_files import cached_models, find_sam_file
from napari_neuropil.prompts.sam_segmenter import SamSegmenter
from napari_neuropil.prompts.segmenter import Segmenter
from napari_neuropil.prompts.segmenters import SEGMENTERS, open_segmenter, segmenter_names
from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter

needs_sam = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment_anything is not installed"
)

_COMPACT = {"width": 32, "encoder_widths": (16, 16, 32, 32, 32), "encoder_blocks": (1, 1, 1, 1)}


def _compact(side: int = 64) -> CompactSam:
    torch.manual_seed(0)
    return CompactSam(input_side=side, **_COMPACT)


def _section(shape: tuple[int, int] = (60, 48)) -> NDArray[np.uint8]:
    section: NDArray[np.uint8] = np.random.default_rng(1).integers(40, 220, shape, np.uint8)
    return section


def _points(*places: tuple[float, float, bool]) -> dict[str, NDArray[np.generic]]:
    return {
        "points": np.array([place[:2] for place in places], np.float32).reshape(-1, 2),
        "positive": np.array([place[2] for place in places], np.bool_),
    }


def _mask(shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    mask[10:30, 20:44] = True
    return mask


class SegmenterConformance:
    """Each segmenter inherits this and says how it is made."""

    def make(self) -> Segmenter:
        raise NotImplementedError

    @pytest.fixture
    def segmenter(self) -> Segmenter:
        return self.make()

    def _prompts(self, shape: tuple[int, int] = (60, 48)) -> list[Prompt]:
        return [
            Prompt(box=(5, 8, 25, 40)),
            Prompt(**_points((20, 30, True))),
            Prompt(box=(30, 2, 58, 20), **_points((40, 10, True), (50, 18, False))),
            Prompt(mask=_mask(shape)),
            Prompt(box=(0.5, 3.25, 12.75, 47)),
            Prompt(**_points((20, 30, True), (22, 33, True))),
            Prompt(mask=_mask(shape), **_points((12, 25, True))),
            Prompt(mask=np.zeros(shape, np.bool_), box=(5, 8, 25, 40)),
        ]

    def test_it_says_who_it_is(self, segmenter: Segmenter) -> None:
        assert segmenter.name
        assert segmenter.longest_side > 0
        assert segmenter.fingerprint == self.make().fingerprint

    def test_every_prompt_gets_a_mask_of_the_section(self, segmenter: Segmenter) -> None:
        embedding = segmenter.embed(_section())
        assert embedding.shape == (60, 48)
        assert all(isinstance(array, np.ndarray) for array in embedding.arrays.values())
        prompts = self._prompts()
        found = segmenter.masks(embedding, prompts)
        assert len(found) == len(prompts)
        for answer in found:
            assert answer.mask.shape == (60, 48)
            assert answer.mask.dtype == np.bool_
            assert 0 <= answer.score <= 1
            assert 0 <= answer.stability <= 1
        # An empty mask says nothing, so the last prompt is the first one.
        np.testing.assert_array_equal(found[-1].mask, found[0].mask)

    def test_answers_do_not_depend_on_what_else_is_asked(self, segmenter: Segmenter) -> None:
        embedding = segmenter.embed(_section())
        prompts = self._prompts()
        together = segmenter.masks(embedding, prompts)
        for prompt, answer in zip(prompts, together, strict=True):
            (alone,) = segmenter.masks(embedding, [prompt])
            assert (alone.mask == answer.mask).mean() > 0.999
            assert alone.score == pytest.approx(answer.score, abs=1e-4)
        again = segmenter.masks(segmenter.embed(_section()), prompts)
        for first, second in zip(together, again, strict=True):
            np.testing.assert_array_equal(first.mask, second.mask)
            assert first.score == second.score

    def test_nothing_asked_is_nothing_answered(self, segmenter: Segmenter) -> None:
        assert segmenter.masks(segmenter.embed(_section()), []) == []

    @pytest.mark.parametrize("shape", [(1, 1), (3, 200), (130, 7)])
    def test_sections_of_any_shape(self, segmenter: Segmenter, shape: tuple[int, int]) -> None:
        embedding = segmenter.embed(_section(shape))
        (answer,) = segmenter.masks(embedding, [Prompt(box=(0, 0, shape[0], shape[1]))])
        assert answer.mask.shape == shape

    @pytest.mark.parametrize("value", [0, 128])
    def test_a_section_without_tissue(self, segmenter: Segmenter, value: int) -> None:
        embedding = segmenter.embed(np.full((60, 48), value, np.uint8))
        for answer in segmenter.masks(embedding, self._prompts()):
            assert answer.mask.shape == (60, 48)
            assert 0 <= answer.score <= 1

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            (np.random.default_rng(0).random((8, 8)), r"float64 with values 0.* to 0\.9"),
            (np.zeros((8, 8), np.uint16), "uint16"),
            (np.zeros((8, 8), np.bool_), "bool"),
            (np.zeros((2, 8, 8), np.uint8), r"shape \(2, 8, 8\)"),
            (np.zeros((0, 8), np.uint8), r"shape \(0, 8\)"),
        ],
    )
    def test_what_is_no_section(
        self, segmenter: Segmenter, section: NDArray[np.uint8], message: str
    ) -> None:
        with pytest.raises(VolumeFormatError, match=message):
            segmenter.embed(section)

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            (Prompt(), "An empty prompt"),
            (Prompt(mask=np.zeros((60, 48), np.bool_)), "An empty prompt"),
            (Prompt(**_points((5, 5, False))), "where the object is not"),
            (Prompt(box=(70, 2, 80, 20)), "outside the section of 60 by 48"),
            (Prompt(box=(-9, 2, -1, 20)), "outside the section"),
            (Prompt(box=(9, 9, 9, 20)), "empty or inside out"),
            (Prompt(box=(20, 30, 5, 8)), "empty or inside out"),
            (Prompt(box=(0, 0, float("nan"), 5)), "four finite numbers"),
            (Prompt(box=(5, 8, 25, 40), **_points((20, 48, True))), r"point \(20, 48\) outside"),
            (Prompt(**_points((float("nan"), 3, True))), "outside"),
            (Prompt(mask=np.ones((48, 60), np.bool_)), "the same shape"),
            (Prompt(points=np.zeros((2, 2), np.float32)), "with 0 signs"),
        ],
    )
    def test_a_prompt_that_points_at_nothing(
        self, segmenter: Segmenter, prompt: Prompt, message: str
    ) -> None:
        embedding = segmenter.embed(_section())
        with pytest.raises(SettingsError, match=message):
            segmenter.masks(embedding, [prompt])
        with pytest.raises(SettingsError, match="Prompt 2 of 2"):
            segmenter.masks(embedding, [Prompt(box=(5, 8, 25, 40)), prompt])


class TestBoxFill(SegmenterConformance):
    def make(self) -> Segmenter:
        return BoxFillSegmenter()


class TestEllipse(SegmenterConformance):
    def make(self) -> Segmenter:
        return EllipseSegmenter()


class TestWatershed(SegmenterConformance):
    def make(self) -> Segmenter:
        return WatershedSegmenter()


@needs_sam
class TestCompact(SegmenterConformance):
    def make(self) -> Segmenter:
        return SamSegmenter(_compact(), "compact", batch=2)


@needs_sam
class TestVit(SegmenterConformance):
    def make(self) -> Segmenter:
        size = VitSize(32, 2, 2, 64, 16, 4, 3, (1,), 32, 8, 2, 64, 3, 32, 3)
        network = build_vit_sam(size)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
        return SamSegmenter(network, "vit")


def test_the_box_and_the_ellipse_in_it() -> None:
    section = _section((20, 20))
    prompt = Prompt(box=(2.5, 4, 10, 16))
    (box,) = BoxFillSegmenter().masks(BoxFillSegmenter().embed(section), [prompt])
    wanted = np.zeros((20, 20), np.bool_)
    wanted[2:10, 4:16] = True
    np.testing.assert_array_equal(box.mask, wanted)
    (ellipse,) = EllipseSegmenter().masks(EllipseSegmenter().embed(section), [prompt])
    assert not (ellipse.mask & ~wanted).any()
    assert ellipse.mask.sum() == pytest.approx(np.pi / 4 * 8 * 12, rel=0.1)
    assert ellipse.mask[5, 4]
    assert not ellipse.mask[2, 4]


def _cells() -> NDArray[np.uint8]:
    """Two cells side by side, 30 x 40, with membranes of 2 pixels around them."""
    section = np.full((30, 40), 200, np.uint8)
    for left, right in ((2, 16), (14, 38)):
        section[2:28, left:right] = 60
    section[4:26, 4:14] = 200
    section[4:26, 16:36] = 200
    return section


def test_the_watershed_stops_at_membranes() -> None:
    segmenter = WatershedSegmenter()
    embedding = segmenter.embed(_cells())
    # The box is too large on all sides, and reaches into the other cell.
    (found,) = segmenter.masks(embedding, [Prompt(box=(0, 10, 30, 40))])
    wanted = np.zeros((30, 40), np.bool_)
    wanted[3:27, 15:37] = True  # to the middle of the membranes
    assert (found.mask & wanted).sum() / (found.mask | wanted).sum() > 0.85
    assert not found.mask[:, :13].any()


def test_the_watershed_takes_points_and_masks() -> None:
    segmenter = WatershedSegmenter()
    embedding = segmenter.embed(_cells())
    left = segmenter.masks(
        embedding, [Prompt(box=(0, 0, 30, 40), **_points((15, 8, True), (15, 25, False)))]
    )[0].mask
    assert left[6:24, 5:13].all()
    assert not left[6:24, 18:34].any()
    known = np.zeros((30, 40), np.bool_)
    known[8:20, 20:30] = True
    right = segmenter.masks(
        embedding, [Prompt(box=(0, 0, 30, 40), mask=known, **_points((15, 8, False)))]
    )[0].mask
    assert right[6:24, 18:34].all()
    assert not right[6:24, 5:13].any()


def test_the_table() -> None:
    assert segmenter_names()[: len(SEGMENTERS)] == ["compact", "watershed", "ellipse", "box"]
    for name in CLASSICAL:
        assert open_segmenter(name).name == name
    with pytest.raises(CheckpointError, match="no segmenter 'comapct'"):
        open_segmenter("comapct")
    with pytest.raises(CheckpointError, match="No checkpoint at absent"):
        open_segmenter("absent.pt")


def test_the_default_without_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("napari_neuropil.networks.pretrained._WEIGHTS", tmp_path)
    with pytest.raises(CheckpointError, match="neuropil train"):
        open_segmenter()


@needs_sam
def test_files_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models" / "mine.safetensors"
    spec = SamSpec(network="compact-sam", arguments=_COMPACT, pixel_sizes_nm=(6.0,))
    save_sam(path, _compact(), spec)
    opened = open_segmenter(path)
    assert (opened.name, opened.longest_side) == ("mine", 64)
    assert isinstance(opened, SamSegmenter)
    assert opened.pixel_sizes_nm == (6.0,)
    assert open_segmenter(str(path)).fingerprint == opened.fingerprint
    monkeypatch.setattr("napari_neuropil.networks.pretrained._WEIGHTS", tmp_path)
    shipped = tmp_path / "compact-sam" / "compact-sam.safetensors"
    save_sam(shipped, _compact(), spec)
    assert open_segmenter().name == "compact"


def test_models_that_micro_sam_has_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    assert cached_models() == {}
    with pytest.raises(CheckpointError, match="'vit_b_em_organelles' is not on this computer"):
        open_segmenter("vit_b_em_organelles")
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("vit_b", "vit_l_em_organelles.pt", "vit_b_lm_decoder", "notes.txt", "vit_x"):
        (folder / name).touch()
    assert list(cached_models()) == ["vit_b", "vit_l_em_organelles"]
    assert find_sam_file("vit_b") == folder / "vit_b"
    assert segmenter_names()[-2:] == ["vit_b", "vit_l_em_organelles"]
    monkeypatch.chdir(folder)
    assert find_sam_file("./vit_b_lm_decoder").is_file()  # a path is a path
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_segmenter("vit_b")  # an empty file


def test_a_download_needs_micro_sam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("micro_sam") is not None:
        pytest.skip("micro_sam is installed")
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"napari-neuropil\[sam\]"):
        open_segmenter("vit_b", download=True)


class _Registry:
    registry = {"vit_b": "a hash", "vit_b_lm": "a hash", "vit_b_lm_decoder": "a hash"}  # noqa: RUF012

    def fetch(self, name: str) -> str:
        if name == "vit_b":
            raise ConnectionError("no route to host")
        return f"/somewhere/{name}"


@pytest.mark.parametrize("module", ["micro_sam.util", "micro_sam.v1.util"])
def test_downloads_go_through_its_registry(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("micro_sam", "micro_sam.util", "micro_sam.v1", "micro_sam.v1.util"):
        fake = ModuleType(name)
        if name == module:
            fake.models = _Registry  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, fake)
    assert _micro_sam.download_model("vit_b_lm") == Path("/somewhere/vit_b_lm")
    with pytest.raises(CheckpointError, match=r"could not be downloaded.*no route"):
        _micro_sam.download_model("vit_b")
    with pytest.raises(CheckpointError, match="Expected: vit_b, vit_b_lm\n"):
        _micro_sam.download_model("vit_z")


def test_the_table_costs_no_torch() -> None:
    code = "import sys, napari_neuropil.prompts.segmenters; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


@needs_sam
def test_tiles_of_a_compact_one() -> None:
    tiled = TiledSegmenter(SamSegmenter(_compact(), "compact"))
    embedding = tiled.embed(_section((100, 150)))
    (found,) = tiled.masks(embedding, [Prompt(box=(60, 100, 80, 124))])
    wanted = np.zeros((100, 150), np.bool_)
    wanted[60:80, 100:124] = True
    assert (found.mask & wanted).sum() / (found.mask | wanted).sum() > 0.75
