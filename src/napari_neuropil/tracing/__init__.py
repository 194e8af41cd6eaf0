"""Skeletons of segments, and the files they are kept in."""

from napari_neuropil.tracing.skeleton import SKELETON_METHODS, Skeleton, skeletonize
from napari_neuropil.tracing.swc import write_swc

__all__ = ["SKELETON_METHODS", "Skeleton", "skeletonize", "write_swc"]
