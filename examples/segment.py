"""The whole walk in Python: segment a crop of the sample, score the result, write it as a TIFF."""

from __future__ import annotations

from pathlib import Path

from napari_neuropil.workflows.evaluate import evaluate_files
from napari_neuropil.workflows.export import export_segmentation
from napari_neuropil.workflows.requests import SegmentRequest
from napari_neuropil.workflows.segment import segment

sample = Path(__file__).resolve().parents[1] / "sample_data" / "neuropil.ome.zarr"
crop = "4:20,0:160,0:160"
request = SegmentRequest(image=str(sample), project="example.neuropil", roi=crop, device="cpu")
project = segment(request, report=lambda step: print(step.stage, step.done, "of", step.total))
print(project.info.fragment_count, "fragments,", len(project.rag.contacts), "contacts")
print(evaluate_files(project.path, sample / "labels" / "neurons"))
export_segmentation(project.path, "example.tif")
