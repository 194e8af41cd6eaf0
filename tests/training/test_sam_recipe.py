"""The recipe of the compact SAM: bad ones are named, the shipped one is valid and keeps apart."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from napari_neuropil.training import sam as module
from napari_neuropil.training.sam import COMPACT_SAM, SamRecipe
from napari_neuropil.training.volumes import load_volumes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patch_shape: [2, 224, 224]", "patch_shape: one section"),
        ("patch_shape: [1, 220, 224]", "multiples of 32"),
        ("patch_shape: [1, 544, 224]", "up to 512"),
        ("network: {width: 48}", "network.width"),
        ("network: {input_side: 500}", "network.input_side"),
        ("augmentation: {zoom: 0.1}", "augmentation.translate: 0 is needed"),
        ("augmentation: {translate: 0, slip: 0}", "augmentation.damage: 0 is needed"),
        ("prompts: {rounds: 0}", "prompts.rounds"),
        ("loss: {shake: 0.5}", "loss.shake"),
    ],
)
def test_bad_recipes_are_named(text: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SamRecipe.model_validate({"seed": 1, **yaml.safe_load(text)})


def _shipped() -> SamRecipe:
    folder = Path(module.__file__).parents[1] / "weights" / "compact-sam"
    return SamRecipe.model_validate(yaml.safe_load((folder / "recipe.yaml").read_text()))


def test_the_shipped_recipe_keeps_to_the_splits() -> None:
    volumes = {v.image.partition("_")[0]: v for v in _shipped().volumes}
    assert set(volumes) == {"ac4", "fib25"}
    for v in _shipped().volumes:
        ac4 = v.image.startswith("ac4")
        assert v.train_sections == ((0, 80) if ac4 else (0, 200))
        assert v.validation_sections == ((80, 100) if ac4 else (200, 250))


def test_zoomed_pixels_cover_what_users_have() -> None:
    """Sizes from 4.2 to 15 nm, without a gap between the volumes."""
    recipe = _shipped()
    zoom = recipe.augmentation.zoom
    sizes = sorted(v.voxel_size[1] * v.factors[0] for v in recipe.volumes)
    reach = [((1 - zoom) * s, (1 + zoom) * s) for s in sizes]
    assert reach[0][0] <= 4.2 + 1e-9
    assert reach[-1][1] >= 15
    assert all(high >= low for (_, high), (low, _) in pairwise(reach))


def test_the_arguments_build_the_network() -> None:
    from napari_neuropil.errors import MissingExtraError
    from napari_neuropil.networks.compact_sam import CompactSam

    arguments = dict(COMPACT_SAM.arguments(_shipped()))
    try:
        network = CompactSam(**arguments)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert network.input_side == arguments["input_side"] == 512
    assert sum(p.numel() for p in network.parameters()) * 2 < 20e6  # bytes, as halves


def test_validation_sections_give_examples(real_data: Path) -> None:
    recipe = _shipped()
    small = recipe.model_copy(
        update={
            "volumes": recipe.volumes[-1:],
            "generated": recipe.generated.model_copy(update={"count": 1, "shape": (2, 32, 32)}),
        }
    )
    volumes, validation = load_volumes(small, real_data, COMPACT_SAM.make_patch(small))
    assert volumes[0].image.shape == (200, 250, 250)
    assert len(validation) == 2
    for patch in validation:
        assert patch.image.shape == recipe.patch_shape[1:]
        assert 4 <= patch.count <= recipe.prompts.objects
        areas = np.bincount(patch.objects.ravel())[1:]
        assert areas.min() >= recipe.prompts.smallest_part
