"""The guard around torchvision: what it mends, what it leaves alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_neuropil.errors import MissingExtraError
from napari_neuropil.networks import _segment_anything
from napari_neuropil.networks._torchvision import import_beside_torch, suppress_overlaps

needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)
needs_sam = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment_anything is not installed"
)

_BROKEN = """
import torch

def refuse(path):
    raise OSError("built for another torch")

torch.ops.load_library = refuse
"""


def _run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@needs_torchvision
def test_a_torchvision_of_another_torch_is_mended_once() -> None:
    said = _run(
        _BROKEN
        + """
from napari_neuropil.networks._torchvision import import_beside_torch, mend_torchvision
ops = import_beside_torch("torchvision.ops")
boxes = torch.tensor([[0., 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
scores = torch.tensor([0.5, 0.9, 0.1])
assert ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
assert ops.batched_nms(boxes, scores, torch.arange(3), 0.5).tolist() == [1, 0, 2]
assert not mend_torchvision()
assert import_beside_torch("torchvision.ops") is ops
print("whole")
"""
    )
    assert "whole" in said
    assert said.count("does not fit torch") == 1


@needs_torchvision
def test_the_import_fails_without_the_guard() -> None:
    said = _run(_BROKEN + "try:\n    import torchvision\nexcept RuntimeError as e:\n    print(e)")
    assert "operator torchvision::nms does not exist" in said


@needs_torchvision
@needs_sam
def test_segment_anything_comes_in_whole() -> None:
    said = _run(
        _BROKEN
        + """
from napari_neuropil.networks._segment_anything import import_sam_parts
parts = import_sam_parts()
import segment_anything
assert segment_anything.modeling is parts
assert segment_anything.SamPredictor.__module__ == "segment_anything.predictor"
print(sorted(n for n in dir(parts) if n[0].isupper()))
"""
    )
    assert "'MaskDecoder', 'PromptEncoder', 'Sam', 'TwoWayTransformer'" in said


def test_other_failures_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "breaks_at_import.py").write_text("raise RuntimeError('no such luck')")
    with pytest.raises(RuntimeError, match="no such luck"):
        import_beside_torch("breaks_at_import")
    (tmp_path / "wants_another.py").write_text("import absent_package_of_a_test")
    with pytest.raises(ModuleNotFoundError, match="absent_package_of_a_test"):
        import_beside_torch("wants_another")


def test_an_absent_package_is_named_with_its_cure() -> None:
    with pytest.raises(MissingExtraError, match="pip install absent-thing"):
        _segment_anything._import("absent_package_of_a_test", "pip install absent-thing")


def _suppress_slowly(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        for k in kept:
            sides = np.minimum(boxes[i, 2:], boxes[k, 2:]) - np.maximum(boxes[i, :2], boxes[k, :2])
            shared = sides.clip(0).prod()
            union = sum((boxes[j, 2:] - boxes[j, :2]).prod() for j in (i, k)) - shared
            if union > 0 and shared / union > threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_suppression_equals_a_naive_loop(threshold: float) -> None:
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 40, (80, 2))], axis=1).round()
    scores = rng.integers(0, 30, 80) / 30  # with ties
    found = suppress_overlaps(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    wanted = _suppress_slowly(boxes, scores, threshold)
    assert found.dtype == torch.int64
    assert found.tolist() == wanted
    assert 1 < len(wanted) <= 80


def test_nothing_is_suppressed_of_nothing() -> None:
    assert suppress_overlaps(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
