"""The project folder."""

from napari_neuropil.project.info import PROJECT_FORMAT, ProjectInfo, lasting_source
from napari_neuropil.project.project import Project, read_info, write_graph, write_info
from napari_neuropil.project.segments import SegmentArray

__all__ = [
    "PROJECT_FORMAT",
    "Project",
    "ProjectInfo",
    "SegmentArray",
    "lasting_source",
    "read_info",
    "write_graph",
    "write_info",
]
