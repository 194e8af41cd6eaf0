"""Parts of AGQ: slabs against the whole, components, coordinates, resizing."""

from __future__ import annotations

import pytest
import torch
from skimage import measure
from torch.nn import functional

from napari_neuropil.networks.agq import slabs as agq_slabs
from napari_neuropil.networks.agq.branches import Branch, InstanceFeatures, with_coordinates
from napari_neuropil.networks.agq.components import component_means, label_components
from napari_neuropil.networks.agq.layers import Convolution, NormedConvolution, Residual
from napari_neuropil.networks.agq.masks import MaskHead, gathered_under, masks_of
from napari_neuropil.networks.agq.norm import ChannelSums, SectionGroupNorm
from napari_neuropil.networks.agq.resize import add_resized


def test_slabs_cover_all_sections_once() -> None:
    for sections, numbers in ((1, 1), (17, 10**6), (17, 10**9), (5, 0)):
        found = [k for part in agq_slabs.slabs(sections, numbers) for k in range(sections)[part]]
        assert found == list(range(sections))
    assert len(list(agq_slabs.slabs(17, 10**6))) == 9


@pytest.fixture(params=[1, 3000, 10**9])
def slab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agq_slabs, "_SLAB", request.param)


def _sections(*shape: int) -> torch.Tensor:
    torch.manual_seed(4)
    return torch.randn(shape)


@pytest.mark.usefixtures("slab")
@pytest.mark.parametrize(
    ("kernel", "stride", "every"),
    [
        ((1, 3, 3), (1, 1, 1), 1),
        ((1, 3, 3), (1, 1, 1), 2),
        ((1, 5, 5), (1, 1, 1), 1),
        ((1, 3, 3), (1, 2, 2), 1),
        ((3, 3, 3), (2, 2, 2), 1),
        ((3, 3, 3), (1, 1, 1), 1),
    ],
)
@pytest.mark.parametrize("shape", [(5, 8, 9, 12), (1, 8, 1, 1), (4, 8, 2, 3)])
def test_slabs_give_what_the_whole_gives(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], every: int, shape: tuple[int, ...]
) -> None:
    layer, x = NormedConvolution(8, 16, kernel, stride), _sections(*shape)
    whole = layer(x, every=every)
    skip = _sections(*whole.shape)
    whole = layer(x, skip, every=every).detach()
    with torch.no_grad():
        found = layer(x, skip, every=every)
    assert found.shape == whole.shape
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)
    if every == 1:
        assert found.shape == layer.convolution.result_shape(x)


@pytest.mark.usefixtures("slab")
@pytest.mark.parametrize("layer", [Residual(8), Branch(5, 4, deep=True), Branch(5, 4, deep=False)])
def test_results_in_place_change_nothing(layer: torch.nn.Module) -> None:
    x = _sections(5, 8, 9, 7)
    before, wanted = x.clone(), layer(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(x, before)


@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_sees_all_sections_in_training(*, train: bool) -> None:
    layer, x = InstanceFeatures(5).train(train), _sections(5, 8, 9, 7)
    wanted = layer(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("origin", [0.0, 1e3, -1e4])
def test_sums_lose_nothing_far_from_0(origin: float) -> None:
    """The mean of a group is far from 0, and its channels far from each other."""
    x = _sections(6, 16, 10, 10) + origin
    x[:, 1] += 30
    x[3:] *= 1.01
    sums = ChannelSums()
    for section in x:
        sums.add(section[None])
    mean, variance = sums.group_moments(8)
    groups = x.double().transpose(0, 1).reshape(8, -1)
    wanted = groups.var(1, unbiased=False).repeat_interleave(2)
    assert sums.voxels == 600
    torch.testing.assert_close(mean, groups.mean(1).repeat_interleave(2), atol=1e-4, rtol=1e-7)
    torch.testing.assert_close(variance, wanted, atol=0, rtol=1e-3)


def test_group_norm_by_hand() -> None:
    norm = SectionGroupNorm(8)
    x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1).expand(2, 8, 1, 1)
    # Both sections count: mean 2, deviation 1.
    torch.testing.assert_close(norm(x)[:, 0, 0, 0], torch.tensor([-1.0, 1.0]))


def test_the_border_repeats() -> None:
    layer = Convolution(1, 1, (3, 3, 3), bias=True)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 1, 1] = 1  # the section below
        layer.weight[0, 0, 1, 1, 2] = 10  # the voxel after along x
        layer.state_dict()["bias"].fill_(100)
    x = torch.arange(1.0, 5).view(2, 1, 1, 2)
    wanted = torch.tensor([[101 + 20, 102 + 20], [101 + 40, 102 + 40]])
    torch.testing.assert_close(layer(x)[:, 0, 0], wanted.float())
    torch.testing.assert_close(layer(x, slice(1, 2))[:, 0, 0], wanted[1:].float())


def test_coordinates_by_hand() -> None:
    x = with_coordinates(torch.full((2, 1, 3, 5), 7.0))
    assert x.shape == (2, 4, 3, 5)
    torch.testing.assert_close(x[1, :, 0, 1], torch.tensor([1.0, -0.5, -1.0, 7.0]))
    torch.testing.assert_close(x[0, :, 2, 4], torch.tensor([-1.0, 1.0, 1.0, 7.0]))


@pytest.mark.usefixtures("slab")
@pytest.mark.parametrize(
    ("small", "large"),
    [((3, 5, 5), (5, 9, 9)), ((3, 5, 4), (5, 9, 11)), ((1, 1, 1), (3, 2, 4)),
     ((4, 8, 8), (4, 8, 8)), ((5, 9, 9), (1, 1, 3)), ((4, 6, 6), (7, 6, 5))],
)  # fmt: skip
def test_resizing_keeps_the_corners(
    small: tuple[int, int, int], large: tuple[int, int, int]
) -> None:
    x, target = _sections(small[0], 3, *small[1:]), _sections(large[0], 3, *large[1:])
    volume = x.transpose(0, 1)[None]
    wanted = functional.interpolate(volume, large, mode="trilinear", align_corners=True)
    wanted = target + wanted[0].transpose(0, 1)
    torch.testing.assert_close(add_resized(target, x), wanted)
    with torch.no_grad():
        torch.testing.assert_close(add_resized(target.clone(), x), wanted)


def _shares(foreground: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(8.0 * foreground - 4)


def test_components_by_hand() -> None:
    foreground = torch.zeros(2, 6, 6)
    foreground[0, 0, 3:5] = 1  # first in raster order: 2 voxels
    foreground[0, 4, 0] = foreground[1, 5, 1] = 1  # they touch at a corner
    foreground[1, 0:2, 0] = 1  # apart from both
    foreground[1, 2, 5] = 1  # alone
    labels, sizes = label_components(_shares(foreground), 100, 1)
    assert sizes.tolist() == [2, 2, 2]
    assert labels[0, 0, 3] == labels[0, 0, 4] == 1
    assert labels[0, 4, 0] == labels[1, 5, 1] == 2
    assert labels[1, 0, 0] == labels[1, 1, 0] == 3
    assert int((labels > 0).sum()) == 6
    labels, sizes = label_components(_shares(foreground), 2, 1)
    assert sizes.tolist() == [2, 2]
    assert int(labels.max()) == 2
    assert len(label_components(_shares(foreground), 100, 2)[1]) == 0
    assert len(label_components(_shares(foreground), 0, 1)[1]) == 0
    assert len(label_components(torch.full((2, 4, 4), 0.5), 100, 1)[1]) == 0


@pytest.mark.parametrize("most", [3, 1000])
def test_components_and_means_are_those_of_a_loop(most: int) -> None:
    torch.manual_seed(0)
    affinities = torch.randn(4, 3, 30, 30) - 5 + 8 * (torch.rand(4, 1, 30, 30) < 0.05)
    shares = torch.sigmoid(affinities).mean(1)
    labels, sizes = label_components(shares, most, 2)
    foreground = (shares > shares.mean()).numpy()
    found = torch.from_numpy(measure.label(foreground, connectivity=3))  # type: ignore[no-untyped-call]
    masks = [m for m in (found == i for i in range(1, int(found.max()) + 1)) if m.sum() > 2][:most]
    assert len(masks) == min(most, len(sizes)) > 2
    rows = torch.randn(4 * 30 * 30, 5)
    means = component_means(rows, labels, sizes)
    for i, mask in enumerate(masks):
        assert torch.equal(labels == i + 1, mask)
        torch.testing.assert_close(means[i], rows[mask.view(-1)].mean(0))


def test_no_component_has_no_mean() -> None:
    labels, sizes = label_components(torch.full((2, 4, 4), 0.5), 100, 1)
    assert component_means(torch.randn(32, 5), labels, sizes).shape == (0, 5)


@pytest.mark.usefixtures("slab")
@pytest.mark.parametrize("queries", [0, 1, 6])
def test_masks_in_parts_are_those_at_once(queries: int) -> None:
    torch.manual_seed(1)
    norm = torch.nn.BatchNorm2d(1, eps=1e-3).eval()
    for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
        assert tensor is not None
        tensor.copy_(torch.rand(1) + 0.5)
    head = MaskHead(torch.randn(queries, 4), norm)
    rows, instances, background = torch.randn(50, 4), torch.rand(50, 4), torch.rand(50, 1)
    masks, gathered = masks_of(head, rows, background), gathered_under(head, rows, instances)
    with torch.no_grad():
        torch.testing.assert_close(masks_of(head, rows, background), masks)
        torch.testing.assert_close(gathered_under(head, rows, instances), gathered)
    # Shares of a voxel are 1 together, so all queries together gather everything.
    if queries:
        torch.testing.assert_close(gathered.sum(0), instances.sum(0))
    assert torch.equal(masks[:, :1], background)
