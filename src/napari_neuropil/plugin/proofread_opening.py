"""Open a project for proofreading beside the window: the session, and its layers if none are shown.

The first import of Zarr takes a second, and a log of 10^5 edits as long; so this runs on a thread.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin.fragment_view import FragmentCache, FragmentView
from napari_neuropil.plugin.layers import METADATA_KEY, LayerArray, LayerData, layer_from_volume

if TYPE_CHECKING:
    from napari_neuropil.proofreading import ProofreadingSession


@dataclass(frozen=True, eq=False)
class Opened:
    """What a thread brings back.

    Parameters
    ----------
    session : ProofreadingSession
        The live session.
    cache : FragmentCache
        Shared by all layers of the session.
    segments : LayerArray
        Live segments, for a labels layer.
    attributes : dict
        Of that layer.
    image : LayerData or None
        The project's image, where it was asked for and still exists.
    """

    session: ProofreadingSession
    cache: FragmentCache
    segments: LayerArray
    attributes: dict[str, Any]
    image: LayerData | None

    @property
    def path(self) -> Path:
        """The project's folder."""
        return Path(self.session.path)


def open_beside(path: Path, *, with_image: bool) -> Opened:
    """Open a project; called on a thread.

    Parameters
    ----------
    path : Path
        The folder.
    with_image : bool
        Also open the image.

    Raises
    ------
    ProjectError
        If it cannot be opened.
    """
    from napari_neuropil.proofreading import ProofreadingSession

    session = ProofreadingSession.open(path)
    with ExitStack() as undo:
        undo.callback(session.close)
        cache = FragmentCache(session.fragments())
        view = FragmentView(cache, lambda: session.lookup, "uint64")
        segments = session.segments()
        _, attributes, _ = layer_from_volume(segments, name=f"{path.stem} segments")
        attributes["metadata"][METADATA_KEY] |= {"project": str(path), "source": str(path)}
        # Counted here: on the window's thread the first question would wait for it.
        session.segment_ids()
        image = _image_of(session) if with_image else None
        undo.pop_all()
    return Opened(session, cache, LayerArray(view), attributes, image)


def _image_of(session: ProofreadingSession) -> LayerData | None:
    from napari_neuropil.volumes import open_volume

    info = session.info
    if not info.image_source:
        return None
    try:
        # A project that travels with its image names it from its own folder.
        image = open_volume(Path(session.path) / info.image_source)
    except NeuropilError:
        return None
    if image.voxel_size is None:
        image = image.with_voxel_size(info.voxel_size_nm)
    return layer_from_volume(image, name=image.name)
