"""The quick gradient against torch's own."""

import pytest
import torch

from napari_neuropil.networks.cpu_convolution import Convolution3x3x3


@pytest.mark.parametrize(
    ("channels", "out_channels", "shape"),
    [(1, 1, (1, 1, 1)), (3, 5, (4, 7, 9)), (16, 8, (2, 70, 130)), (2, 3, (3, 1, 5000))],
)
def test_result_and_gradients_are_those_of_torch(
    channels: int, out_channels: int, shape: tuple[int, int, int]
) -> None:
    """Also where rows do not divide into bands, and one row is longer than a band."""
    torch.manual_seed(1)
    x = torch.randn(1, channels, *shape, requires_grad=True)
    weight = torch.randn(out_channels, channels, 3, 3, 3, requires_grad=True)
    ours = Convolution3x3x3.apply(x, weight)
    theirs = torch.nn.functional.conv3d(x.double(), weight.double(), padding=1)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)
    upstream = torch.randn_like(ours)
    expected = torch.autograd.grad(theirs, (x, weight), upstream.double())
    found = torch.autograd.grad(ours, (x, weight), upstream)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
