"""Importing packages that need torchvision where its compiled operators do not fit torch.

torchvision's wheel on the package index is built for CUDA. Beside a torch built for the CPU, or of
another version, its library cannot be loaded, and the import dies because the operator
``torchvision::nms`` does not exist, though almost nobody calls it. With it die all packages that
import torchvision, SAM and YOLO among them. The two operators that the import looks for are
defined here instead, in plain torch. Nothing is touched where the import succeeds by itself.
"""

from __future__ import annotations

import importlib
import logging
import sys
from functools import cache
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

_LOG: Final = logging.getLogger(__name__)
_SCHEMAS: Final = {
    name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms")
}


def import_beside_torch(name: str) -> ModuleType:
    """Import a package that imports torchvision, and mend torchvision if it must be.

    Parameters
    ----------
    name : str
        Dotted name of the module.

    Returns
    -------
    module
        The imported module. Every other failure of the import is raised as it is.
    """
    before = set(sys.modules)
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if not _is_missing_operator(error):
            raise
    _forget(name.partition(".")[0], before)
    mend_torchvision()
    return importlib.import_module(name)


def mend_torchvision() -> bool:
    """Make torchvision importable; for packages that import it late, such as at a prediction.

    Returns
    -------
    bool
        Whether it had to be mended now. False also where torchvision is not installed.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        return False
    except RuntimeError as error:
        if not _is_missing_operator(error):
            raise
        reason = str(error)
    else:
        return False
    _define_operators()
    _forget("torchvision", set())
    importlib.import_module("torchvision")
    # Its functions ask this before they call an operator. True is right for nms, which SAM and
    # YOLO use; other compiled operators (deformable convolution, RoI pooling) stay absent.
    importlib.import_module("torchvision.extension").__dict__["_has_ops"] = _answer_yes
    _LOG.warning(
        "torchvision does not fit torch %s (%s): non-maximum suppression runs in plain torch. "
        "Install the torchvision built for this torch to get rid of this.",
        torch.__version__,
        reason,
    )
    return True


def suppress_overlaps(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the boxes that no better one overlaps: greedy non-maximum suppression.

    Parameters
    ----------
    boxes : Tensor, (n, 4)
        Two opposite corners each, the lower first; the order of the axes does not matter.
    scores : Tensor, (n,)
        The best is kept first; of equal ones that which comes first.
    iou_threshold : float
        A box that overlaps a kept one by more than this goes.

    Returns
    -------
    Tensor of int64, (k,)
        Indices of the kept boxes, best first. O(k n) time, O(n) memory.
    """
    order = scores.argsort(descending=True, stable=True)
    low, high = boxes[order, :2].float(), boxes[order, 2:].float()
    areas = (high - low).prod(dim=1)
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    kept = []
    for index in range(len(order)):
        if not alive[index]:
            continue
        kept.append(index)
        sides = torch.minimum(high[index + 1 :], high[index]) - torch.maximum(
            low[index + 1 :], low[index]
        )
        shared = sides.clamp(min=0).prod(dim=1)
        overlaps = shared / (areas[index + 1 :] + areas[index] - shared)
        alive[index + 1 :] &= ~(overlaps > iou_threshold)  # 0 / 0 of empty boxes stays
    return order[torch.tensor(kept, dtype=torch.int64, device=boxes.device)]


def _forget(package: str, before: set[str]) -> None:
    """Drop what a failed import left behind: the next one would take its parts for whole."""
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == package:
            del sys.modules[name]


def _is_missing_operator(error: RuntimeError) -> bool:
    return "torchvision::" in str(error) and "does not exist" in str(error)


@cache  # a library that is forgotten takes its operators along
def _define_operators() -> Any:
    make: Any = torch.library.Library  # has no types
    library = make("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
            for device in ("CPU", "CUDA"):
                library.impl(name, suppress_overlaps, device)
    return library


def _answer_yes() -> bool:
    return True
