"""AGQ against its forward pass written anew: plain torch, a gather per component."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from skimage import measure
from torch import Tensor
from torch.nn import functional

from napari_neuropil.networks.agq import AGQ
from napari_neuropil.networks.agq.output import AgqOutput

State = dict[str, Tensor]
_NARROW: dict[str, Any] = {
    "channels": (8, 16, 16, 24, 24),
    "fused": 16,
    "learned_queries": 7,
    "smallest_component": 3,
}


def _network(seed: int = 9, **arguments: Any) -> AGQ:
    """Return a network in which every tensor is random, and affinities are mostly low."""
    torch.manual_seed(seed)
    network = AGQ(**{**_NARROW, **arguments}).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            scale = name.endswith("weight") and tensor.dim() == 1
            if scale or name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand_like(tensor))
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(0.3 * torch.randn_like(tensor))
        # Few voxels exceed the mean then: several components.
        network.state_dict()["affinity_branch.projection.bias"] -= 6
        # Faint features, as training begins with, would hide what depends on them.
        network.state_dict()["mask_branch.projection.weight"] *= 10
    return network


def _image(*shape: int, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return 2 * torch.rand(1, 1, *shape) - 1


class _Anew:
    """The network's definition, one tensor after another."""

    def __init__(self, network: AGQ, *, train: bool = False) -> None:
        self.state = dict(network.state_dict(keep_vars=True))
        self.train = train
        self.most, self.smallest = network.most_components, network.smallest_component

    def conv(self, name: str, x: Tensor, stride: tuple[int, int, int] = (1, 1, 1)) -> Tensor:
        weight = self.state[f"{name}.weight"]
        z, y, x_ = (k // 2 for k in weight.shape[2:])
        x = functional.pad(x, (x_, x_, y, y, z, z), mode="replicate")
        return functional.conv3d(x, weight, self.state.get(f"{name}.bias"), stride)

    def group_norm(self, name: str, x: Tensor) -> Tensor:
        parts = x.reshape(1, 8, -1)
        mean = parts.mean(2, keepdim=True)
        variance = (parts - mean).square().mean(2, keepdim=True)
        x = ((parts - mean) / torch.sqrt(variance + 1e-5)).view_as(x)
        scale, shift = (self.state[f"{name}.{p}"].view(1, -1, 1, 1, 1) for p in ("weight", "bias"))
        normed: Tensor = x * scale + shift
        return normed

    def batch_norm(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        others = [d for d in range(x.dim()) if d != 1]
        mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.train:
            mean, variance = x.mean(others), x.var(others, unbiased=False)
        parts = (mean, variance, self.state[f"{name}.weight"], self.state[f"{name}.bias"])
        mean, variance, scale, shift = (p.view(1, -1, *[1] * (x.dim() - 2)) for p in parts)
        normed: Tensor = (x - mean) / torch.sqrt(variance + eps) * scale + shift
        return normed

    def normed(self, name: str, x: Tensor, stride: tuple[int, int, int] = (1, 1, 1)) -> Tensor:
        x = self.group_norm(f"{name}.1", self.conv(f"{name}.0", x, stride))
        return functional.elu(x)

    def block(self, name: str, x: Tensor) -> Tensor:
        y = self.normed(f"{name}.conv.0", x)
        y = self.group_norm(f"{name}.conv.1.1", self.conv(f"{name}.conv.1.0", y))
        return functional.elu(x + y)

    def fused(self, image: Tensor) -> Tensor:
        x = self.normed("conv_in", image)
        levels = []
        for i, stride in enumerate([(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)]):
            x = self.normed(f"down_layers.{i}.1", x, stride)
            x = self.block(f"down_layers.{i}.2", x)
            levels.append(x)
        for i in (3, 2, 1, 0):
            x = _resized(self.normed(f"up_layers.{i}.0", x), levels[i])
            x = levels[i] = self.block(f"up_layers.{i}.1", x + levels[i])
        parts = [self.normed(f"fusion_block.pre_convs.{i}", x) for i, x in enumerate(levels)]
        total = torch.stack([_resized(p, parts[1]) for p in parts]).sum(0)
        return self.normed("fusion_block.post_convs.0", total)

    def branch(self, name: str, x: Tensor) -> Tensor:
        for i in range(4):
            x = functional.elu(self.conv(f"{name}.mask_convs.{i}.0", x))
        return self.conv(f"{name}.projection", x)

    def instances(self, x: Tensor) -> Tensor:
        for i in range(4):
            name = f"inst_decoder.rpn.inst_convs.{i}"
            x = functional.relu(self.batch_norm(f"{name}.1", self.conv(f"{name}.0", x)))
        return x

    def components(self, affinities: Tensor) -> list[Tensor]:
        mean = torch.sigmoid(affinities.detach()).mean(1)
        # A voxel on the threshold would make the comparison a matter of rounding.
        assert (mean - mean.mean()).abs().min() > 1e-7
        foreground = (mean > mean.mean())[0].numpy()
        labels = torch.from_numpy(measure.label(foreground, connectivity=3))  # type: ignore[no-untyped-call]
        masks = [labels == i for i in range(1, int(labels.max()) + 1)]
        return [m for m in masks if m.sum() > self.smallest][: self.most]

    def linear(self, name: str, x: Tensor) -> Tensor:
        mapped: Tensor = x @ self.state[f"{name}.weight"].t() + self.state[f"{name}.bias"]
        return mapped

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).square().mean(-1, keepdim=True)
        scale, shift = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        normed: Tensor = (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift
        return normed

    def logits(self, name: str, linear: str, queries: Tensor, features: Tensor) -> Tensor:
        kernels = self.linear(f"{name}.{linear}", queries)
        kernels = self.batch_norm(f"{name}.norm_kernel", kernels, 1e-3)
        logits = torch.einsum("nc,czyx->nzyx", kernels, features[0])
        return self.batch_norm(f"{name}.norm_logits", logits[None, None], 1e-3)[0, 0]

    def background(self, index: int, features: Tensor) -> Tensor:
        name = f"inst_decoder.bg_convs.{index}"
        return functional.relu(self.batch_norm(f"{name}.1", self.conv(f"{name}.0", features)))[0]

    def updated(self, name: str, gathered: Tensor, queries: Tensor) -> Tensor:
        width = queries.shape[1]
        p, q = (
            self.linear(f"{name}.dynamic_layer", gathered),
            self.linear(f"{name}.input_layer", queries),
        )
        g = q[:, :width] * p[:, :width]
        gate = self.layer_norm(f"{name}.input_norm_in", self.linear(f"{name}.input_gate", g))
        update = self.layer_norm(f"{name}.norm_in", self.linear(f"{name}.update_gate", g))
        f = torch.sigmoid(update) * self.layer_norm(f"{name}.norm_out", p[:, width:])
        f = f + torch.sigmoid(gate) * self.layer_norm(f"{name}.input_norm_out", q[:, width:])
        f = self.layer_norm(f"{name}.fc_norm", self.linear(f"{name}.fc_layer", f))
        return f.clamp(min=0)

    def interacted(self, name: str, x: Tensor) -> Tensor:
        width = x.shape[1]
        q, k, v = self.linear(f"{name}.attn.c_attn", x).chunk(3, dim=1)
        heads = []
        for low in range(0, width, width // 8):
            own = slice(low, low + width // 8)
            scores = q[:, own] @ k[:, own].t() / (width // 8) ** 0.5
            heads.append(torch.softmax(scores, 1) @ v[:, own])
        x = x + self.linear(f"{name}.attn.c_proj", torch.cat(heads, 1))
        x = self.layer_norm(f"{name}.ln_1", x)
        hidden = self.linear(f"{name}.mlp.c_fc", x)
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        return self.layer_norm(f"{name}.ln_2", x + self.linear(f"{name}.mlp.c_proj", hidden))

    def __call__(self, image: Tensor) -> dict[str, Any]:
        fused = self.fused(image)
        z, y, x = (torch.linspace(-1, 1, n, dtype=image.dtype) for n in fused.shape[2:])
        shape = fused.shape[2:]
        places = [z.view(-1, 1, 1).expand(shape), x.expand(shape), y.view(-1, 1).expand(shape)]
        located = torch.cat([torch.stack(places)[None], fused], 1)
        affinities = self.branch("affinity_branch", located)
        features = self.branch("mask_branch", located)
        instances = self.instances(located)
        components = self.components(affinities)
        queries = torch.stack(
            [instances[0][:, mask].mean(1) for mask in components]
            + list(self.state["inst_decoder.rpn.learned_masks_embed.weight"])
        )
        unit = features / features.norm(dim=1, keepdim=True)
        logits = self.logits("inst_decoder.rpn", "mask_kernel", queries, unit)
        masks = [torch.cat([self.background(2, unit), logits])]
        for i in range(2):
            shares = torch.softmax(logits, 0)
            gathered = torch.einsum("nzyx,czyx->nc", shares, instances[0])
            queries = self.updated(f"inst_decoder.kernel_updators.{i}", gathered, queries)
            queries = self.interacted(f"inst_decoder.kernel_interactors.{i}", queries)
            logits = self.logits(f"inst_decoder.predictors.{i}", "fc_kernel", queries, unit)
            masks.append(torch.cat([self.background(i, unit), logits]))
        return {
            "affinities": affinities,
            "features": features,
            "queries": queries[None],
            "masks": [m[None] for m in masks],
            "count": len(components),
        }


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="trilinear", align_corners=True)


def _compare(found: AgqOutput, wanted: dict[str, Any], tolerance: float) -> None:
    assert found.component_count == wanted["count"]
    pairs = [
        (found.affinities, wanted["affinities"]),
        (found.features, wanted["features"]),
        (found.queries, wanted["queries"]),
        *zip((*found.earlier_masks, found.mask_logits), wanted["masks"], strict=True),
    ]
    for a, b in pairs:
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shape", [(5, 33, 33), (6, 32, 47), (1, 17, 33), (3, 20, 9)])
@pytest.mark.parametrize("gradients", [False, True])
def test_equals_the_forward_pass_written_anew(
    shape: tuple[int, int, int], *, gradients: bool
) -> None:
    network, image = _network(), _image(*shape)
    with torch.set_grad_enabled(gradients):
        found = network(image)
    with torch.no_grad():
        wanted = _Anew(network)(image)
    assert found.mask_logits.shape[1:] == (
        8 + found.component_count, shape[0], (shape[1] + 1) // 2, (shape[2] + 1) // 2,
    )  # fmt: skip
    _compare(found, wanted, 1e-4)


def test_equals_it_at_the_published_width() -> None:
    network = _network(channels=(32, 64, 96, 128, 160), fused=64, learned_queries=100)
    image = _image(5, 33, 33)
    with torch.inference_mode():
        found, wanted = network(image), _Anew(network)(image)
    assert found.component_count > 1
    assert found.queries.shape == (1, 100 + found.component_count, 64)
    _compare(found, wanted, 1e-4)


# What adds the same to all kernels goes with the mean of the batch.
_TAKEN_AWAY = {
    f"inst_decoder.{name}.bias"
    for name in (
        "rpn.mask_kernel",
        "predictors.0.fc_kernel",
        "predictors.1.fc_kernel",
        "kernel_interactors.1.ln_2",
    )
}


@pytest.mark.parametrize("train", [False, True])
def test_gradients_are_those_of_the_definition(*, train: bool) -> None:
    network = _network(channels=(8, 8, 8, 8, 8), fused=8, most_components=3).double().train(train)
    image = _image(3, 17, 17).double()
    anew = _Anew(network, train=train)
    wanted = anew(image)
    found = network(image)
    assert found.component_count > 0
    _compare(found, wanted, 1e-9)
    torch.manual_seed(5)
    ones = (found.affinities, found.features, *found.earlier_masks, found.mask_logits)
    others = (wanted["affinities"], wanted["features"], *wanted["masks"])
    weights = [torch.randn_like(t) for t in others]
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = [
        torch.autograd.grad(
            torch.stack([(w * t).sum() for w, t in zip(weights, terms, strict=True)]).sum(),
            parameters,
        )
        for terms in (ones, others)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-6)
    idle = {name for name, g in zip(names, gradients[0], strict=True) if g.abs().max() < 1e-9}
    assert idle == (_TAKEN_AWAY if train else set())


def test_without_background_its_logit_is_0() -> None:
    network, image = _network(), _image(5, 33, 33)
    with torch.inference_mode():
        published, usual = network(image, background=False), network(image)
    assert not published.mask_logits[:, 0].any()
    assert usual.mask_logits[:, 0].min() >= 0
    assert usual.mask_logits[:, 0].max() > 0
    assert torch.equal(published.mask_logits[:, 1:], usual.mask_logits[:, 1:])
    for a, b in zip(published.earlier_masks, usual.earlier_masks, strict=True):
        assert torch.equal(a, b)


def test_is_deterministic_and_leaves_the_image_alone() -> None:
    network, image = _network(), _image(5, 33, 33)
    before = image.clone()
    with torch.inference_mode():
        first, second = network(image), network(image, earlier=False)
    assert torch.equal(image, before)
    assert second.earlier_masks == ()
    for name in ("affinities", "mask_logits", "queries", "features"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert first.mask_logits[0].permute(1, 2, 3, 0).is_contiguous()


def test_components_are_limited() -> None:
    image = _image(5, 33, 33)
    with torch.inference_mode():
        count = _network()(image).component_count
        assert count > 3
        assert _network(most_components=2)(image).component_count == 2
        none = _network(smallest_component=10**6)(image)
        assert none.component_count == 0
        assert none.queries.shape == (1, 7, 16)
        nobody = _network(most_components=0, learned_queries=0)(image)
    assert nobody.queries.shape == (1, 0, 16)
    assert nobody.mask_logits.shape == (1, 1, 5, 17, 17)
    # The first components stay the first, whatever the limit.
    with torch.inference_mode():
        _compare(
            _network(most_components=2)(image), _Anew(_network(most_components=2))(image), 1e-4
        )


def test_a_block_without_contrast_gives_numbers() -> None:
    with torch.inference_mode():
        output = _network()(torch.full((1, 1, 5, 33, 33), -1.0))
    assert output.mask_logits.isfinite().all()


def test_half_precision_keeps_the_decoder_whole() -> None:
    network, image = _network(), _image(5, 33, 33)
    with torch.inference_mode():
        wanted = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(image)
    assert found.mask_logits.dtype == found.queries.dtype == torch.float32
    error = (found.affinities.float() - wanted.affinities).abs().max()
    assert error < 0.1 * wanted.affinities.abs().max()


@pytest.mark.parametrize(
    "shape", [(2, 1, 5, 33, 33), (1, 2, 5, 33, 33), (5, 33, 33), (1, 1, 0, 33, 33)]
)
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one image"):
        _network()(torch.zeros(shape))


@pytest.mark.parametrize(
    "arguments",
    [{"channels": (8, 8, 8, 8)}, {"channels": (8, 8, 8, 8, 12)}, {"fused": 12}, {"fused": 0}],
)
def test_other_widths_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        AGQ(**arguments)
    with pytest.raises(ValueError, match="not negative"):
        AGQ(learned_queries=-1)
