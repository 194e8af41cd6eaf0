"""Affinities from embeddings: by hand, against a loop, and at borders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_neuropil.networks.metric_graph import MetricGraph, metric_affinities
from napari_neuropil.segmentation.metric_offsets import ATTRACTIVE, OFFSETS, REPULSIVE


class _Given(nn.Module):
    def __init__(self, embeddings: Tensor, background: Tensor) -> None:
        super().__init__()
        self.embeddings, self.background = embeddings, background

    def forward(self, _image: Tensor) -> tuple[Tensor, Tensor]:
        return self.embeddings, self.background


def test_by_hand() -> None:
    # L1 distances 0, 1.5 and 4 between neighbours along x, with delta 1.5.
    embeddings = torch.tensor([[0, 0, 1, 4], [0, 0, 0.5, -0.5]]).view(1, 2, 1, 1, 4)
    found = metric_affinities(embeddings, [(0, 0, -1), (0, 0, 1), (0, 0, 4)])
    torch.testing.assert_close(found[0, 0, 0, 0], torch.tensor([0, 1, 0.25, 0]))
    torch.testing.assert_close(found[0, 1, 0, 0], torch.tensor([1, 0.25, 0, 0]))
    assert not found[0, 2].any()


def test_equals_a_loop() -> None:
    rng = np.random.default_rng(2)
    embeddings = rng.normal(0, 0.4, (2, 3, 4, 7, 8))
    offsets = (*OFFSETS, (0, 0, 0), (9, 0, 0), (-4, 0, 0))
    wanted = np.zeros((2, len(offsets), 4, 7, 8))
    for b, o, z, y, x in np.ndindex(wanted.shape):
        partner = np.add((z, y, x), offsets[o])
        if (partner >= 0).all() and (partner < (4, 7, 8)).all():
            distance = np.abs(embeddings[b, :, z, y, x] - embeddings[(b, slice(None), *partner)])
            wanted[b, o, z, y, x] = max((3 - distance.sum()) / 3, 0) ** 2
    background = torch.rand(2, 1, 4, 7, 8, dtype=torch.float64)
    graph = MetricGraph(_Given(torch.from_numpy(embeddings), background), offsets)
    affinities, foreground = graph(torch.rand(2, 1, 4, 7, 8))
    np.testing.assert_allclose(affinities.numpy(), wanted, atol=1e-12)
    assert (wanted > 0).any(axis=(0, 2, 3, 4)).tolist() == [*[True] * 13, False, False]
    torch.testing.assert_close(foreground, 1 - background)
    wider = MetricGraph(graph.network, offsets, delta=2.5)(torch.zeros(1))[0]
    assert (wider >= affinities).all()
    assert (wider > affinities).any()


def test_offsets_of_the_paper() -> None:
    # The paper writes (x, y, z).
    paper = [
        (-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, -2), (-5, 0, 0), (0, -5, 0), (-5, -5, 0),
        (-5, 5, 0), (-5, 0, -1), (0, -5, -1), (-5, 0, 1), (0, -5, 1),
    ]  # fmt: skip
    assert {offset[::-1] for offset in OFFSETS} == set(paper)
    assert {offset[::-1] for offset in ATTRACTIVE} == set(paper[:3])
    assert len(REPULSIVE) == 9


def test_delta_must_be_positive() -> None:
    with pytest.raises(ValueError, match="delta"):
        metric_affinities(torch.zeros(1, 2, 2, 2, 2), OFFSETS, delta=0)
