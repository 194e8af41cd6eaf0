"""The comparison of features: by hand, against loops, gradients, and odd patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_neuropil.training.agq import contrast as module
from napari_neuropil.training.agq.contrast import contrast_loss


def _naive(features: torch.Tensor, masks: torch.Tensor, temperature: float) -> float:
    count = len(features)
    f, t = features.detach().tolist(), masks.tolist()
    loss = 0.0
    for i in range(count):
        logits = [sum(a * b for a, b in zip(f[i], f[j], strict=True)) / temperature
                  for j in range(count)]  # fmt: skip
        pairs = [sum(a * b for a, b in zip(t[i], t[j], strict=True)) for j in range(count)]
        log_total = np.log(sum(np.exp(value) for value in logits))
        for logit, pair in zip(logits, pairs, strict=True):
            loss -= pair / sum(pairs) * (logit - log_total) / count
    return float(loss)


def _random(voxels: int, objects: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    masks = rng.random((voxels, objects)) * (rng.random((voxels, objects)) < 0.4)
    masks[:, 0] += 0.01
    features = rng.normal(0, 0.5, (voxels, 3))
    return torch.from_numpy(features), torch.from_numpy(masks)


def test_by_hand() -> None:
    # Two voxels of object 1 that agree, one of object 2 at right angles; products 4, 4, 0.
    features = torch.tensor([[2.0, 0], [2.0, 0], [0, 2.0]], dtype=torch.float64)
    masks = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]], dtype=torch.float64)
    pair = np.log(2 * np.exp(8) + 1) - 8
    single = np.log(np.exp(8) + 2) - 8
    found = contrast_loss(features, masks, 0.5)
    assert float(found) == pytest.approx((2 * pair + single) / 3)


@pytest.mark.parametrize("rows", [3, 1000])
def test_equals_the_loops(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows)
    features, masks = _random(17, 4, 0)
    wanted = _naive(features, masks, 0.3)
    assert contrast_loss(features, masks, 0.3).item() == pytest.approx(wanted, rel=1e-9)
    features.requires_grad_()
    assert contrast_loss(features, masks, 0.3).item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("rows", [2, 1000])
def test_gradients(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows)
    features, masks = _random(5, 2, 1)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: contrast_loss(x, masks, 0.3), (features,))


def test_one_object_wants_no_differences() -> None:
    features = torch.tensor([[1.0, 3.0]]).expand(4, 2)
    assert float(contrast_loss(features, torch.ones(4, 1), 0.3)) == pytest.approx(np.log(4))


def test_no_voxel_costs_nothing_and_has_a_gradient() -> None:
    features = torch.zeros((0, 3), requires_grad=True)
    loss = contrast_loss(features, torch.zeros((0, 0)), 0.3)
    assert loss.item() == 0
    torch.autograd.backward(loss)
    assert features.grad is not None


def test_large_features_do_not_overflow() -> None:
    features, masks = _random(9, 3, 2)
    features = (1e3 * features).float().requires_grad_()
    loss = contrast_loss(features, masks.float(), 0.3)
    (gradient,) = torch.autograd.grad(loss, features)
    assert loss.isfinite()
    assert gradient.isfinite().all()
