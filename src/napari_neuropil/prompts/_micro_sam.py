"""The one door to micro_sam: its registry, which downloads models, and its trainer.

The registry opens a connection, so it is asked only when a user wants a download. Importing
micro_sam takes 10 to 20 s.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from napari_neuropil._optional import import_extra
from napari_neuropil.errors import CheckpointError, MissingExtraError, SettingsError
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


class TrainerParts(NamedTuple):
    """What training takes from micro_sam.

    Parameters
    ----------
    trainer : type
        ``SamTrainer``: prompts in a row, their losses, and the loop.
    convert : type
        ``ConvertToSamInputs``: first prompts from labels.
    """

    trainer: Any
    convert: Any


def import_trainer() -> TrainerParts:
    """Import micro_sam's trainer.

    Raises
    ------
    MissingExtraError
        If micro_sam is not installed.
    SettingsError
        If it is, but not whole, or of a version that has moved its trainer.
    """
    try:
        return TrainerParts(
            _find("training.sam_trainer", "SamTrainer"),
            _find("training.util", "ConvertToSamInputs"),
        )
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"micro_sam is installed, but its trainer cannot be imported: {error}",
            "micro_sam with all that it needs",
            "install what is missing, or train with the trainer that comes with neuropil.",
        ) from error


def is_installed() -> bool:
    """Whether micro_sam is there; it is not imported."""
    return find_spec("micro_sam") is not None


def check_installed() -> None:
    """Say what is missing before any work is done, without the import's seconds.

    Raises
    ------
    MissingExtraError
        If micro_sam is not installed.
    """
    if not is_installed():
        import_extra("micro_sam", _EXTRA)


def _registry() -> Any:
    return _find("util", "models")()


def _find(name: str, attribute: str) -> Any:
    """Return a thing of a module; micro_sam's development version keeps the first SAM apart."""
    mend_torchvision()
    try:
        module = import_extra(f"micro_sam.{name}", _EXTRA)
    except MissingExtraError:
        if not is_installed():
            raise
        module = None
    if not hasattr(module, attribute):
        module = import_extra(f"micro_sam.v1.{name}", _EXTRA)
    return getattr(module, attribute)
