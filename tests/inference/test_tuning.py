"""Choices by measurement: the price of a pass is seen, and tiles shrink to what is free."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_neuropil.inference import tuning
from napari_neuropil.inference.tuning import choose_cpu_plan, cpu_tile_that_fits, measure_peak_bytes


class _Expensive(nn.Module):
    """Holds 64 MiB for a moment, whatever it is given."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        held = torch.from_numpy(np.ones(2**26, np.uint8))
        total = sum(float(held[i::7].float().mean()) for i in range(7))
        return x * total, x


def _peak_in_this_process(shape: tuple[int, int, int]) -> float:
    return measure_peak_bytes(_Expensive(), shape) * float(np.prod(shape))


def test_the_peak_of_a_pass_is_seen() -> None:
    # In a process of its own: what earlier tests left in the allocator would hide the price.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_peak_in_this_process, ((4, 32, 32),))
    assert 2**25 < found < 2**30


def test_tiles_shrink_to_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "free_memory", lambda _device: 2**30)
    notices: list[str] = []
    assert cpu_tile_that_fits((16, 64, 64), 1000, notices.append) == (16, 64, 64)
    assert not notices
    assert cpu_tile_that_fits((16, 512, 512), 1000, notices.append) == (16, 128, 128)
    assert "1.0 GiB" in notices[0]
    assert cpu_tile_that_fits((16, 512, 512), 1e9, notices.append)[1:] == (32, 32)


def test_cpu_plan_keeps_the_tile() -> None:
    plan, seconds = choose_cpu_plan(_Expensive(), (16, 64, 64), 0.2, (4, 32, 32))
    assert plan.tile_shape == (16, 64, 64)
    assert plan.threads == torch.get_num_threads()
    assert seconds > 0
