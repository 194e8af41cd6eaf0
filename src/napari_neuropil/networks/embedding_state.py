"""Published state dicts of residual U-Nets, under the names that ours has.

The authors' building blocks changed names over the years: with what wraps the network, with the
kind of norm, and with the outputs a network is asked for. What each tensor is can still be told
from its place and shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from napari_neuropil.networks.residual_unet import bilinear_kernel

_WRAPPERS = re.compile(r"^(?:module\.|model\.)+")
_BATCH_NORM = (".running_mean", ".running_var", ".num_batches_tracked")
_BOUNDARY = "out.boundary.conv"


def adapt_embedding_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a published state under the names of `ResidualUNet`.

    Prefixes of wrappers go, ``norm_relu`` becomes ``norm_act``, running statistics go (the authors
    normalise by the statistics of the patch itself), absent kernels of the fixed upsampling are
    added, and the one-channel head takes the name it has here. All else stays, for a strict load
    to complain about.

    Parameters
    ----------
    state : mapping of str to Tensor
        As published.
    """
    adapted = {
        _WRAPPERS.sub("", name).replace(".norm_relu.", ".norm_act."): tensor
        for name, tensor in state.items()
        if not name.endswith(_BATCH_NORM)
    }
    for name, tensor in list(adapted.items()):
        if name.startswith("core.uconvs.") and name.endswith(".up.up.1.weight"):
            kernel = name.removesuffix("1.weight") + "0.weight"
            adapted.setdefault(kernel, bilinear_kernel(tensor.shape[1]))
    heads = [
        name.removesuffix(".weight")
        for name, tensor in adapted.items()
        if name.startswith("out.") and name.endswith(".weight") and tensor.shape[0] == 1
    ]
    if len(heads) == 1 and heads[0] != _BOUNDARY:
        for part in (".weight", ".bias"):
            if heads[0] + part in adapted:
                adapted[_BOUNDARY + part] = adapted.pop(heads[0] + part)
    return adapted


def read_embedding_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the widths and dimensions that the tensors tell.

    The paper's text leaves the widths open, so a checkpoint may come with any.

    Parameters
    ----------
    state : mapping of str to Tensor
        From `adapt_embedding_state`.

    Returns
    -------
    dict
        Arguments of `ResidualUNet`; empty if the state is of another network.
    """
    first, head = state.get("in.conv.conv.weight"), state.get("out.embedding.0.conv.weight")
    if first is None or head is None or not first.dim() or not head.dim():
        return {}
    widths = [first.shape[0]]
    while (lower := state.get(f"core.dconvs.{len(widths) - 1}.1.pre.conv.weight")) is not None:
        widths.append(lower.shape[0])
    if len(widths) < 2 or min(*widths, head.shape[0]) < 1:
        return {}
    return {"widths": widths, "dimensions": head.shape[0]}
