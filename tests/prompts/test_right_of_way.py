"""Who goes first is answered while another thread's network pauses, and nothing stays behind."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from napari_neuropil.prompts.right_of_way import RightOfWay


class _Told(nn.Module):
    """A layer that says when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.began.set()
        return x + 1


class _Held(nn.Module):
    """A layer that takes as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go = threading.Event(), threading.Event()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.began.set()
        assert self.go.wait(20)
        return x + 1


def test_a_network_pauses_before_its_next_layer() -> None:
    way, held, told = RightOfWay(), _Held(), _Told()
    network = nn.Sequential(held, told)
    found: list[float] = []

    def slow() -> None:
        with way.pausing(network):
            found.append(float(network(torch.zeros(1))))

    thread = threading.Thread(target=slow)
    thread.start()
    assert held.began.wait(20)
    with way.first():
        held.go.set()
        assert not told.began.wait(0.3), "it waits although its first layer is done"
        way.give()  # who goes first never waits for itself
    thread.join(20)
    assert found == [2.0]


def test_two_may_go_first_and_an_error_lets_others_go_on() -> None:
    way, told = RightOfWay(), _Told()
    with pytest.raises(RuntimeError), way.first(), way.first():
        raise RuntimeError
    thread = threading.Thread(target=way.give)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    network = nn.Sequential(told)
    with way.pausing(network):
        network(torch.zeros(1))
    assert not told._forward_pre_hooks
