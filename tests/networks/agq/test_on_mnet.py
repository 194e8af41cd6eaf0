"""AGQ on a trunk: places of queries, what is trained, sizes, agreement with itself in parts."""

from __future__ import annotations

import pytest
import torch

from napari_neuropil.networks.agq import AGQ, AGQOnMNet, build_agq
from napari_neuropil.networks.agq.places import Places, place_logits
from napari_neuropil.networks.agq.query_map import QueryMap

_TRUNK = {"widths": (4, 4, 8, 8, 8), "affinity_channels": 5}


def _network(**settings: object) -> AGQOnMNet:
    torch.manual_seed(0)
    arguments = {"fused": 16, "learned_queries": 3, "smallest_component": 4, "persistence": 0.01}
    network = build_agq(trunk=_TRUNK, **{**arguments, **settings})
    assert isinstance(network, AGQOnMNet)
    return network.eval()


def _image(shape: tuple[int, int, int] = (4, 32, 48)) -> torch.Tensor:
    return 2 * torch.rand((1, 1, *shape), generator=torch.Generator().manual_seed(1)) - 1


def test_places_by_hand() -> None:
    labels = torch.zeros(3, 12, 40, dtype=torch.int64)
    labels[:, :, 10:20] = 2
    labels[1, 2:4, 30:32] = 1
    logits = place_logits(labels, 2).view(3, 12, 40, 2)
    assert logits[..., 1].max() == logits[1, 6, 15, 1] == pytest.approx(6.907, abs=1e-3)
    # Two means over 5 pixels weigh neighbours 1 2 3 4 5 4 3 2 1 of 25.
    share = torch.tensor([15, 10, 6, 3, 1]) / 25  # at the first voxel inside, then beyond it
    found = logits[1, 6, 6:11, 1].flip(0)
    torch.testing.assert_close(found, torch.logit(share), atol=1e-3, rtol=1e-3)
    assert logits[1, 6, 5, 1] == logits.min() == pytest.approx(-6.907, abs=1e-3)
    middle = torch.sigmoid(logits[:, 2, 30, 0])
    assert middle[1] == pytest.approx(2 * middle[0].item(), rel=1e-3)  # weights 1, 2, 1 along z
    assert place_logits(torch.zeros(2, 3, 3, dtype=torch.int64), 0).shape == (18, 0)
    terms = Places(2)(labels, 2, 3)
    assert [t.shape for t in terms] == [(3 * 12 * 40, 5)] * 2
    torch.testing.assert_close(terms[0][:, :2], 0.5 * logits.view(-1, 2))
    assert (terms[0][:, 2:] == -2).all()


def test_before_training_masks_lie_where_their_components_are() -> None:
    network = _network()
    image = _image()
    view = network.look(image)
    labels, sizes = view.components
    assert len(sizes) > 3
    found = network(image).mask_logits[0, 1:].argmax(dim=0)
    inside = labels > 0
    right = (found[inside] == labels[inside] - 1).float().mean()
    without = _network(placed=False)(image).mask_logits[0, 1:].argmax(dim=0)
    assert right > 0.8
    assert right > (without[inside] == labels[inside] - 1).float().mean() + 0.3


def test_only_queries_are_trained() -> None:
    network = _network().train()
    before = {name: t.clone() for name, t in network.trunk.state_dict().items()}
    output = network(_image())
    (output.mask_logits.square().mean() + output.features.square().mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad is not name.startswith("trunk."), name
    assert network.inst_decoder.places is not None
    assert network.inst_decoder.places.weights.grad is not None
    for name, t in network.trunk.state_dict().items():
        assert torch.equal(t, before[name])


@pytest.mark.parametrize("shape", [(4, 32, 48), (1, 17, 33), (9, 16, 21)])
def test_sizes(shape: tuple[int, int, int]) -> None:
    network = _network()
    image = _image(shape)
    z, y, x = shape
    output = network(image)
    assert output.mask_logits.shape[2:] == (z, (y + 1) // 2, (x + 1) // 2)
    assert output.affinities.shape == (1, 3, z, y, x)
    mapped = QueryMap(network)((image + 1) / 2)
    assert all(values.shape[2:] == shape for values in mapped)
    affinities, foreground = network.trunk((image + 1) / 2)
    wanted = torch.minimum(affinities[:, :3], foreground)
    torch.testing.assert_close(mapped[0], wanted, atol=1e-6, rtol=1e-5)


def test_is_deterministic_in_parts_and_with_gradients() -> None:
    network = _network()
    image = _image()
    with torch.inference_mode():
        first, again = network(image), network.decode(network.look(image))
    assert torch.equal(first.mask_logits, again.mask_logits)
    slow = network(image)  # gradients: nothing in slabs
    torch.testing.assert_close(slow.mask_logits, first.mask_logits, atol=1e-4, rtol=1e-4)
    assert len(slow.earlier_masks) == 2
    assert (network(image, background=False).mask_logits[:, 0] == 0).all()


def test_without_components_the_learned_queries_answer() -> None:
    network = _network(smallest_component=10**6)
    output = network(_image())
    assert output.component_count == 0
    assert output.mask_logits.shape[1] == 1 + 3
    with pytest.raises(ValueError, match="one image"):
        network(_image()[:, :, 0])
    with pytest.raises(ValueError, match="not negative"):
        _network(learned_queries=-1)
    assert isinstance(build_agq(channels=(8,) * 5, fused=8), AGQ)
