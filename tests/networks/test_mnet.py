"""MNet against the published tensor layout and against a plain re-computation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from napari_neuropil.networks.mnet import MNet


def _unit(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.conv.weight"]
    x = functional.conv3d(
        x, weight, state[f"{name}.conv.bias"], padding=[(k - 1) // 2 for k in weight.shape[2:]]
    )
    mean = x.mean((2, 3, 4), keepdim=True)
    variance = x.var((2, 3, 4), keepdim=True, unbiased=False)
    x = (x - mean) / torch.sqrt(variance + 1e-5)
    scale, shift = (state[f"{name}.norm.{p}"].view(1, -1, 1, 1, 1) for p in ("weight", "bias"))
    x = x * scale + shift
    return torch.where(x > 0, x, 0.01 * x)


def _block(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return _unit(state, f"{name}.conv2", _unit(state, f"{name}.conv1", x))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="trilinear", align_corners=False)


def _plain_mnet(state: dict[str, Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
    """Write the grid out node by node, as the paper's figure 2 draws it."""

    def flat(name: str, x: Tensor) -> Tensor:
        return _block(state, f"{name}.CB2d", x)

    def deep(name: str, x: Tensor) -> Tensor:
        return _block(state, f"{name}.CB3d", x)

    def pool2(x: Tensor) -> Tensor:
        return functional.max_pool3d(x, (1, 2, 2))

    def pool3(x: Tensor) -> Tensor:
        return functional.max_pool3d(x, (2, 2, 2) if x.shape[2] >= 8 else (1, 2, 2))

    s: dict[str, Tensor] = {}

    def both(name: str, x: Tensor) -> None:
        s[name + ".2"], s[name + ".3"] = flat(name, x), deep(name, x)

    both("down11", image)
    both("down12", pool2(s["down11.2"]))
    both("down13", pool2(s["down12.2"]))
    both("down14", pool2(s["down13.2"]))
    s["bottleneck1"] = flat("bottleneck1", pool2(s["down14.2"]))
    both("down21", pool3(s["down11.3"]))
    both("down22", (pool2(s["down21.2"]) - pool3(s["down12.3"])).abs())
    both("down23", (pool2(s["down22.2"]) - pool3(s["down13.3"])).abs())
    both("bottleneck2", (pool2(s["down23.2"]) - pool3(s["down14.3"])).abs())
    both("down31", pool3(s["down21.3"]))
    both("down32", (pool2(s["down31.2"]) - pool3(s["down22.3"])).abs())
    both("bottleneck3", (pool2(s["down32.2"]) - pool3(s["down23.3"])).abs())
    both("down41", pool3(s["down31.3"]))
    both("bottleneck4", (pool2(s["down41.2"]) - pool3(s["down32.3"])).abs())
    s["bottleneck5"] = deep("bottleneck5", pool3(s["down41.3"]))

    def joined(up2: Tensor, skip2: Tensor, up3: Tensor, skip3: Tensor) -> Tensor:
        ups = (_resize(up2, skip2) - _resize(up3, skip3)).abs()
        return torch.cat([(skip2 - skip3).abs(), ups], 1)

    def decode(u: str) -> Tensor:
        d = dict(s)

        def skips(name: str) -> tuple[Tensor, Tensor]:
            return d[name + ".2"], d[name + ".3"]

        def node(name: str, up2: str, up3: str, skip: str, blocks: str) -> None:
            skip2, skip3 = skips(skip)
            x = joined(d[up2], skip2, d[up3], skip3)
            if blocks == "23":
                d[name + ".2"], d[name + ".3"] = flat(name + u, x), deep(name + u, x)
            else:
                d[name] = flat(name + u, x) if blocks == "2" else deep(name + u, x)

        node("up41", "bottleneck4.2", "bottleneck5", "down41", "3")
        node("up31", "bottleneck3.2", "bottleneck4.3", "down32", "23")
        node("up32", "up31.2", "up41", "down31", "3")
        node("up21", "bottleneck2.2", "bottleneck3.3", "down23", "23")
        node("up22", "up21.2", "up31.3", "down22", "23")
        node("up23", "up22.2", "up32", "down21", "3")
        node("up11", "bottleneck1", "bottleneck2.3", "down14", "2")
        node("up12", "up11", "up21.3", "down13", "2")
        node("up13", "up12", "up22.3", "down12", "2")
        node("up14", "up13", "up23", "down11", "23")
        return d["up14.2"] + d["up14.3"]

    affinities = functional.conv3d(decode(""), state["outputs.0.weight"])
    foreground = functional.conv3d(decode("_"), state["outputs2.0.weight"])
    return torch.sigmoid(affinities), torch.sigmoid(foreground)


@pytest.mark.parametrize("shape", [(20, 32, 32), (17, 34, 38), (5, 16, 48)])
def test_forward_equals_plain_computation(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(1)
    network = MNet((8, 8, 16, 16, 16)).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # far from the initial norms of 1 and 0
            parameter.add_(0.2 * torch.randn_like(parameter))
        image = torch.rand(2, 1, *shape)
        found = network(image)
        wanted = _plain_mnet(network.state_dict(), image)
    assert found[0].shape == (2, 3, *shape)
    assert found[1].shape == (2, 1, *shape)
    for a, b in zip(found, wanted, strict=True):
        assert b.std() > 1e-3
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_published_layout() -> None:
    state = MNet().state_dict()
    assert len(state) == 462
    assert sum(t.numel() for t in state.values()) == 40_372_736
    assert state["down11.CB2d.conv1.conv.weight"].shape == (32, 1, 1, 3, 3)
    assert state["up11_.CB2d.conv1.conv.weight"].shape == (128, 384, 1, 3, 3)
    assert state["up14_.CB3d.conv2.norm.bias"].shape == (32,)
    assert "up11.CB3d.conv1.conv.weight" not in state
    assert "bottleneck5.CB2d.conv1.conv.weight" not in state
    heads = [tuple(state[f"outputs.{i}.weight"].shape[:2]) for i in range(7)]
    assert heads == [(3, c) for c in (32, 64, 64, 96, 96, 128, 128)]
    assert "outputs.0.bias" not in state
    assert state["outputs2.6.weight"].shape == (1, 128, 1, 1, 1)


def test_gradients_reach_every_used_tensor() -> None:
    network = MNet((8, 8, 8, 8, 8))
    affinities, foreground = network.logits(torch.rand(1, 1, 9, 32, 32))
    (affinities.square().mean() + foreground.square().mean()).backward()
    without = {n for n, p in network.named_parameters() if p.grad is None}
    dead = {f"outputs{k}.{i}.weight" for k in ("", "2") for i in range(1, 7)}
    assert without == dead
