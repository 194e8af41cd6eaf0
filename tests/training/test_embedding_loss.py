"""The loss of embeddings: by hand, against a naive loop, its gradients, and odd patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_neuropil.training import embedding_loss as module
from napari_neuropil.training.embedding_loss import (
    EmbeddingLossSettings,
    embedding_loss,
    embedding_patch_loss,
    neighbour_loss,
)
from napari_neuropil.training.embedding_patches import connected_objects, make_embedding_patch

_PAPER = EmbeddingLossSettings()


def _loss(
    values: NDArray[np.float64],
    objects: NDArray[np.int64],
    origins: list[int],
    settings: EmbeddingLossSettings = _PAPER,
) -> dict[str, float]:
    terms = embedding_loss(
        torch.from_numpy(values), torch.from_numpy(objects), torch.tensor(origins), settings
    )
    return {name: float(t) for name, t in terms.items()}


def test_two_objects_by_hand() -> None:
    # Object 1 has (0, 0) and (1, 2), object 2 has (2, 2); the last voxel is background.
    values = np.array([[0, 1, 2, 9], [0, 2, 2, 9]], float).reshape(2, 1, 1, 4)
    objects = np.array([1, 1, 2, 0]).reshape(1, 1, 4)
    found = _loss(values, objects, [5, 8])
    # Mean of object 1 is (0.5, 1): both voxels lie 1.5 from it. Object 2 is its own mean.
    assert found["internal"] == pytest.approx((1.5**2 + 0) / 2)
    # The means are 1.5 + 1 = 2.5 apart, 0.5 less than the 3 wanted.
    assert found["external"] == pytest.approx(0.5**2)
    assert found["regulariser"] == pytest.approx(1e-3 * (1.5 + 4) / 2)


def test_parts_of_one_object_do_not_repel_but_count() -> None:
    values = np.array([0.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    objects = np.array([1, 2, 3]).reshape(1, 1, 3)
    # Pairs (1, 3), (2, 3) and back cost (3 - 1)^2; pair (1, 2) would cost 9.
    assert _loss(values, objects, [4, 4, 6])["external"] == pytest.approx(4 * 4 / 6)
    assert _loss(values, objects, [4, 5, 6])["external"] == pytest.approx((4 * 4 + 2 * 9) / 6)


def test_odd_patches_by_hand() -> None:
    values = np.array([1.0, 3.0]).reshape(1, 1, 1, 2)
    one = _loss(values, np.array([1, 1]).reshape(1, 1, 2), [7])
    assert one == pytest.approx({"internal": 1.0, "external": 0.0, "regulariser": 2e-3})
    none = _loss(values, np.zeros((1, 1, 2), np.int64), [])
    assert none == {"internal": 0, "external": 0, "regulariser": 0}


def _naive(
    values: NDArray[np.float64],
    objects: NDArray[np.int64],
    origins: list[int],
    settings: EmbeddingLossSettings,
) -> dict[str, float]:
    count = len(origins)
    means, internal = [], 0.0
    for number in range(1, count + 1):
        voxels = [values[(slice(None), *p)] for p in np.argwhere(objects == number)]
        mean = sum(voxels) / len(voxels)
        means.append(mean)
        over = [max(np.abs(v - mean).sum() - settings.spread, 0) for v in voxels]
        internal += float(np.mean(np.square(over))) / count
    external = 0.0
    for a in range(count):
        for b in range(count):
            if a != b and origins[a] != origins[b]:
                apart = np.abs(means[a] - means[b]).sum()
                external += max(2 * settings.apart - apart, 0) ** 2
    return {
        "internal": settings.internal * internal,
        "external": settings.external * external / (count * (count - 1)),
        "regulariser": settings.regulariser * float(np.mean([np.abs(m).sum() for m in means])),
    }


@pytest.mark.parametrize("rows", [2, 3, 100])
def test_equals_the_naive_loop(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "PAIR_ROWS", rows)
    rng = np.random.default_rng(rows)
    labels = np.repeat(rng.integers(0, 4, (3, 4, 3)), 2, axis=2).astype(np.uint32) * 1000
    objects, origins = connected_objects(labels)
    assert len(origins) > len(np.unique(labels)) - 1 > 2
    values = rng.normal(0, 0.3, (3, *labels.shape))
    settings = EmbeddingLossSettings(spread=0.2, apart=0.8, internal=2, external=3, regulariser=0.5)
    found = _loss(values, objects, origins.tolist(), settings)
    assert found == pytest.approx(_naive(values, objects, origins.tolist(), settings), rel=1e-12)


@pytest.mark.parametrize("rows", [2, 100])
def test_gradients(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "PAIR_ROWS", rows)
    rng = np.random.default_rng(5)
    labels = np.array([[[1, 1, 2, 2, 0, 1], [3, 3, 2, 2, 0, 1]]], np.uint32)
    objects, origins = (torch.from_numpy(a) for a in connected_objects(labels))
    assert origins.tolist() == [1, 2, 1, 3]
    values = torch.from_numpy(rng.normal(0, 0.3, (2, *labels.shape))).requires_grad_()

    def total(x: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(embedding_loss(x, objects, origins, _PAPER).values())).sum()

    assert torch.autograd.gradcheck(total, (values,))


def test_patches_without_objects_or_background_have_gradients() -> None:
    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Conv3d(1, 4, 1)

        def logits(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            out = self.head(image)
            return out[:, :3], out[:, 3:]

    image = np.random.default_rng(0).random((2, 4, 4), dtype=np.float32)
    for fill in (0, 6):
        network = Linear()
        patch = make_embedding_patch(image, np.full(image.shape, fill, np.uint32))
        assert patch.background.all() == (fill == 0)
        terms = embedding_patch_loss(network, patch, torch.device("cpu"), _PAPER)
        assert list(terms) == ["internal", "external", "regulariser", "background"]
        torch.autograd.backward(list(terms.values()))
        assert network.head.weight.grad is not None
        assert network.head.weight.grad.isfinite().all()


def test_background_is_cross_entropy() -> None:
    class Fixed(torch.nn.Module):
        def logits(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return image.expand(-1, 2, -1, -1, -1), torch.full_like(image, 2.0)

    labels = np.array([[[1, 1, 1, 0]]], np.uint32)
    patch = make_embedding_patch(np.zeros((1, 1, 4), np.float32), labels)
    terms = embedding_patch_loss(
        Fixed(), patch, torch.device("cpu"), EmbeddingLossSettings(background=0.5)
    )
    background, inside = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    assert float(terms["background"]) == pytest.approx(0.5 * (background + 3 * inside) / 4)


def test_components_join_over_corners_and_keep_their_id() -> None:
    labels = np.zeros((2, 3, 5), np.uint32)
    labels[0, 0, 0] = labels[1, 1, 1] = 9  # touch by a corner
    labels[0, 0, 4] = 9  # apart
    labels[0, 1, 0] = 4  # another id beside
    objects, origins = connected_objects(labels)
    assert origins.tolist() == [9, 9, 4]
    assert objects[0, 0, 0] == objects[1, 1, 1] == 1
    assert objects[0, 0, 4] == 2
    assert objects[0, 1, 0] == 3
    large, large_origins = connected_objects(labels, smallest=2)
    assert large_origins.tolist() == [9]
    np.testing.assert_array_equal(large, np.where(objects == 1, 1, 0))


def test_borders_become_background_before_parts_are_found() -> None:
    labels = np.array([[[7, 7, 7, 8, 8, 8]]], np.uint32)
    patch = make_embedding_patch(np.zeros((1, 1, 6), np.float32), labels)
    assert patch.background[0, 0].tolist() == [False, False, True, True, False, False]
    assert patch.objects[0, 0].tolist() == [1, 1, 0, 0, 2, 2]
    assert patch.origins.tolist() == [7, 8]
    small = make_embedding_patch(np.zeros((1, 1, 6), np.float32), labels, smallest=3)
    assert not small.objects.any()
    np.testing.assert_array_equal(small.background, patch.background)


def _neighbours(
    values: NDArray[np.float64],
    objects: NDArray[np.int64],
    origins: list[int],
    offset: tuple[int, int, int],
) -> float:
    return float(
        neighbour_loss(
            torch.from_numpy(values), torch.from_numpy(objects), torch.tensor(origins), [offset],
            _PAPER,
        )
    )  # fmt: skip


def test_neighbours_by_hand() -> None:
    # Objects 1 1 2 0 3; 3 is another part of the id of 2. One dimension.
    values = np.array([0.0, 1.0, 1.5, 9.0, 2.0]).reshape(1, 1, 1, 5)
    objects = np.array([1, 1, 2, 0, 3]).reshape(1, 1, 5)
    # (1, 1) costs 1, (1, 2) is 0.5 apart and costs 2.5^2; the others touch the background.
    found = _neighbours(values, objects, [7, 8, 8], (0, 0, 1))
    assert found == pytest.approx(0.5 * (1 + 2.5**2))
    assert _neighbours(values, objects, [7, 8, 8], (0, 0, -1)) == pytest.approx(found)
    # Two steps: (1, 2) with 1.5 apart, (2, 3) of one id does not count.
    assert _neighbours(values, objects, [7, 8, 8], (0, 0, 2)) == pytest.approx(0.5 * 1.5**2)
    assert _neighbours(values, objects, [7, 8, 9], (0, 0, 2)) == pytest.approx(
        0.5 * (1.5**2 + 2.5**2) / 2
    )
    assert _neighbours(values, objects, [7, 8, 8], (0, 1, 0)) == 0, "no partner inside"
    assert _neighbours(values, np.zeros_like(objects), [], (0, 0, 1)) == 0


def test_neighbours_have_gradients() -> None:
    rng = np.random.default_rng(5)
    labels = np.array([[[1, 1, 2, 2, 0, 1], [3, 3, 2, 2, 0, 1]]], np.uint32)
    objects, origins = (torch.from_numpy(a) for a in connected_objects(labels))
    values = torch.from_numpy(rng.normal(0, 0.3, (2, *labels.shape))).requires_grad_()

    def cost(x: torch.Tensor) -> torch.Tensor:
        return neighbour_loss(x, objects, origins, [(0, 0, -1), (0, -1, 0)], _PAPER)

    assert torch.autograd.gradcheck(cost, (values,))
