"""The one door to micro_sam: its registry, which downloads models and checks their hashes.

Nothing else of it is used. It opens a connection, so it is asked only when a user wants a download.
Importing it takes 10 to 20 s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from napari_neuropil._optional import import_extra
from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks._torchvision import mend_torchvision

_EXTRA: Final = "sam"


def download_model(name: str) -> Path:
    """Return the file of a model, downloaded unless it is there already.

    Parameters
    ----------
    name : str
        micro_sam's, for example ``vit_b_em_organelles``.

    Raises
    ------
    MissingExtraError
        If micro_sam is not installed.
    CheckpointError
        If it does not know the model, there is no connection, or what came is damaged.
    """
    registry = _registry()
    if name not in registry.registry:
        raise CheckpointError(
            f"micro_sam knows no model {name!r}.",
            ", ".join(n for n in sorted(registry.registry) if not n.endswith("_decoder")),
            "choose one of these.",
        )
    try:
        return Path(registry.fetch(name))
    except (OSError, ValueError) as error:  # no connection, full disk; another hash
        raise CheckpointError(
            f"The model {name!r} could not be downloaded: {error}",
            "a connection to the place where micro_sam keeps its models",
            "try again when connected, or give the path of a checkpoint.",
        ) from error


def _registry() -> Any:
    mend_torchvision()
    util = import_extra("micro_sam.util", _EXTRA)
    if not hasattr(util, "models"):  # its development version keeps the first SAM apart
        util = import_extra("micro_sam.v1.util", _EXTRA)
    return util.models()
