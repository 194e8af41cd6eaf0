"""The whole walk in Python: segment the sample volume, score the result, write it as a TIFF."""

from __future__ import annotations

from pathlib import Path

from napari_neuropil.workflows.evaluate import evaluate_files
from napari_neuropil.workflows.export import export_segmentation
from napari_neuropil.workflows.requests import SegmentRequest
from napari_neuropil.workflows.segment import segment

sample = Path(__file__).resolve().parents[1] / "sample_data" / "neuropil.ome.zarr"
request = SegmentRequest(image=str(sample), project="example.neuropil", device="cpu")
project = segment(request, report=lambda step: print(step.stage, step.done, "of", step.total))
print(project.info.fragment_count, "fragments,", len(project.rag.contacts), "contacts")
print(evaluate_files(project.path, sample / "labels" / "neurons"))
export_segmentation(project.path, "example.tif")
