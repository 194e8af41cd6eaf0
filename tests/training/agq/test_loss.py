"""The whole loss of AGQ: weights, stages, affinities, odd patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_neuropil.training.agq.loss import AgqLossSettings, affinity_entropy, agq_patch_loss
from napari_neuropil.training.agq.patches import AgqPatch, make_agq_patch

_CPU = torch.device("cpu")
_PAPER = AgqLossSettings()
_OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


@dataclass(frozen=True)
class _Output:
    affinities: Tensor
    mask_logits: Tensor
    earlier_masks: tuple[Tensor, Tensor]
    features: Tensor


class _Linear(nn.Module):
    """One convolution for everything, at the decoder's grid."""

    def __init__(self, queries: int = 6) -> None:
        super().__init__()
        self.queries = queries
        self.head = nn.Conv3d(1, 3 + 3 * (queries + 1) + 4, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.seen = torch.zeros(())

    def forward(self, image: Tensor) -> _Output:
        self.seen = image
        sizes = (3, *[self.queries + 1] * 3, 4)
        affinities, first, second, last, features = self.head(image).split(sizes, dim=1)
        return _Output(affinities, last, (first, second), features)


def _patch(shape: tuple[int, int, int] = (3, 17, 17), *, cells: int = 2) -> AgqPatch:
    """Return a patch of cells x cells objects with dark borders, each of another grey."""
    _, height, width = shape
    rows, columns = (np.arange(n) * cells // n for n in (height, width))
    labels = np.broadcast_to(1 + rows[:, None] * cells + columns, shape).astype(np.uint32)
    noise = np.random.default_rng(0).normal(0, 0.02, shape)
    grey = 0.3 + 0.6 * labels / (cells * cells) + noise
    borders = np.gradient(labels[0].astype(float))
    grey[:, (borders[0] != 0) | (borders[1] != 0)] = 0.05
    image = grey.clip(0, 1).astype(np.float32)
    return make_agq_patch(image, labels, offsets=_OFFSETS, compared=200)


def _values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(t.detach()) for name, t in terms.items()}


def test_affinities_by_hand() -> None:
    logits = torch.tensor([0.0, 2.0, -3.0], dtype=torch.float64).view(1, 1, 1, 3)
    wanted = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64).view(1, 1, 1, 3)
    p = 1 / (1 + np.exp([-2.0, 3.0]))
    near = 0.9 * np.log(p[0]) + 0.1 * np.log(1 - p[0])
    far = 0.1 * np.log(p[1]) + 0.9 * np.log(1 - p[1])
    found = float(affinity_entropy(logits, wanted, 0.1))
    assert found == pytest.approx((np.log(2) - near - far) / 3)


def test_images_come_in_minus_one_to_one() -> None:
    network, patch = _Linear(), _patch()
    agq_patch_loss(network, patch, _CPU, _PAPER)
    np.testing.assert_allclose(network.seen[0, 0].numpy(), 2 * patch.image - 1, atol=1e-6)


def test_weights_and_stages() -> None:
    torch.manual_seed(0)
    network, patch = _Linear(), _patch()
    with torch.inference_mode():
        plain = _values(agq_patch_loss(network, patch, _CPU, _PAPER))
        double = AgqLossSettings(dice=6, entropy=0.6, contrast=0.2, affinities=2)
        twice = _values(agq_patch_loss(network, patch, _CPU, double))
        assert list(plain) == ["dice", "entropy", "contrast", "affinities"]
        assert twice == pytest.approx({name: 2 * value for name, value in plain.items()})
        parts = [
            _values(agq_patch_loss(network, patch, _CPU, AgqLossSettings(stages=stages)))
            for stages in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        ]
    for name in ("dice", "entropy"):
        assert sum(part[name] for part in parts) == pytest.approx(plain[name])
        assert len({part[name] for part in parts}) == 3


def test_later_outputs_keep_the_first_matching() -> None:
    # Query 1 holds everything before the stages and query 2 afterwards: the object stays with 1.
    labels = np.ones((1, 4, 4), np.uint32)
    patch = make_agq_patch(np.zeros(labels.shape, np.float32), labels, offsets=_OFFSETS)

    def masks(query: int) -> Tensor:
        out = torch.zeros((1, 3, 1, 2, 2))
        out[:, query] = 20
        return out

    class Fixed(nn.Module):
        def forward(self, _image: Tensor) -> _Output:
            nothing = torch.zeros((1, 3, 1, 2, 2))
            return _Output(nothing, masks(2), (masks(1), masks(2)), nothing)

    terms = agq_patch_loss(Fixed(), patch, _CPU, AgqLossSettings(dice=1, entropy=1))
    # Dice 1 - 0 for both later outputs, over two queries; cross-entropy 20 in both.
    assert float(terms["dice"]) == pytest.approx(2 / 2, abs=1e-4)
    assert float(terms["entropy"]) == pytest.approx(40, abs=1e-3)
    assert float(terms["contrast"]) == pytest.approx(0.1 * np.log(4))


def test_half_precision_counts_in_single() -> None:
    torch.manual_seed(1)
    network, patch = _Linear(), _patch()
    wanted = _values(agq_patch_loss(network, patch, _CPU, _PAPER))

    class Half(nn.Module):
        def forward(self, image: Tensor) -> _Output:
            out = network(image)
            return _Output(
                out.affinities.bfloat16(), out.mask_logits.bfloat16(),
                (out.earlier_masks[0].bfloat16(), out.earlier_masks[1].bfloat16()),
                out.features.bfloat16(),
            )  # fmt: skip

    found = agq_patch_loss(Half(), patch, _CPU, _PAPER)
    assert {t.dtype for t in found.values()} == {torch.float32}
    assert _values(found) == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("fill", [0, 4])
@pytest.mark.parametrize("smallest", [1, 10**6])
def test_patches_of_one_object_or_none_have_gradients(fill: int, smallest: int) -> None:
    network = _Linear()
    labels = np.full((2, 9, 8), fill, np.uint32)
    image = np.random.default_rng(0).random(labels.shape, dtype=np.float32)
    patch = make_agq_patch(image, labels, offsets=_OFFSETS, smallest=smallest)
    terms = agq_patch_loss(network, patch, _CPU, _PAPER)
    torch.autograd.backward(list(terms.values()))
    assert network.head.weight.grad is not None
    assert network.head.weight.grad.isfinite().all()


def test_more_objects_than_queries_have_gradients() -> None:
    network, patch = _Linear(5), _patch((1, 65, 65), cells=11)
    assert patch.masks.count == 121
    terms = agq_patch_loss(network, patch, _CPU, _PAPER)
    torch.autograd.backward(list(terms.values()))
    assert network.head.weight.grad is not None
    assert network.head.weight.grad.isfinite().all()


def test_a_patch_has_one_loss() -> None:
    torch.manual_seed(2)
    network, patch = _Linear(), _patch()
    first, again = (_values(agq_patch_loss(network, patch, _CPU, _PAPER)) for _ in range(2))
    assert first == again


def test_affinity_channels_are_z_y_x() -> None:
    # A border between sections is seen by the first channel alone.
    labels = np.repeat(np.array([1, 2], np.uint32), 9 * 27).reshape(6, 9, 9)
    patch = make_agq_patch(np.zeros(labels.shape, np.float32), labels, offsets=_OFFSETS)
    assert [(a < 1).any() for a in patch.affinities] == [True, False, False]
