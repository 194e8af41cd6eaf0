"""Labels of queries, section by section, against the definition on the whole block."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_neuropil.networks.agq.labels import label_queries


def _literal(
    logits: torch.Tensor, size: tuple[int, int, int], smallest: float
) -> tuple[torch.Tensor, torch.Tensor]:
    fine = functional.interpolate(logits[None], size=size, mode="trilinear", align_corners=False)
    shares = fine[0].softmax(dim=0)
    volumes = shares.sum(dim=(1, 2, 3))
    shares[volumes < smallest] = 0
    return shares, volumes


@pytest.mark.parametrize("scale", [1.0, 4.0, 60.0])
@pytest.mark.parametrize("smallest", [0.0, 40.0, 1e9])
def test_equals_the_definition(scale: float, smallest: float) -> None:
    torch.manual_seed(int(scale))
    logits = scale * torch.randn(9, 4, 9, 13)
    logits[3:] -= 2 * scale  # small queries, some of which win voxels
    size = (4, 17, 25)
    found = label_queries(logits, size, smallest_volume=smallest)
    shares, volumes = _literal(logits, size, smallest)
    torch.testing.assert_close(found.labels.long(), shares.argmax(dim=0))
    torch.testing.assert_close(found.confidence, shares.amax(dim=0))
    rest = shares.scatter(0, shares.argmax(dim=0, keepdim=True), 0.0)
    torch.testing.assert_close(found.runner_up_share, rest.amax(dim=0))
    torch.testing.assert_close(found.runner_up.long(), rest.argmax(dim=0))
    torch.testing.assert_close(found.volumes, volumes, rtol=1e-4, atol=1e-3)


def test_small_queries_give_their_voxels_away() -> None:
    logits = torch.full((3, 1, 8, 8), -5.0)
    logits[1] = 1.0
    logits[2, 0, 2, 2] = 5.0
    assert (label_queries(logits, (1, 8, 8), smallest_volume=0).labels == 2).sum() == 1
    found = label_queries(logits, (1, 8, 8), smallest_volume=2)
    assert (found.labels == 1).all()
    assert found.confidence[0, 2, 2] < 0.1 < 0.9 < found.confidence[0, 0, 0]
    torch.testing.assert_close(
        found.foreground[0, 0, 0], torch.tensor(1 - 0.0024), atol=1e-3, rtol=0
    )


def test_nothing_but_background() -> None:
    found = label_queries(torch.zeros(1, 2, 4, 4), (2, 8, 8))
    assert not found.labels.any()
    assert not found.foreground.any()


@pytest.mark.parametrize("shape", [(257, 2, 4, 4), (5, 3, 4, 4)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="logits of shape"):
        label_queries(torch.zeros(shape), (2, 8, 8))
