"""Measures of a segmentation against the truth."""

from napari_neuropil.evaluation.scores import SegmentationScores, evaluate_segmentation

__all__ = ["SegmentationScores", "evaluate_segmentation"]
