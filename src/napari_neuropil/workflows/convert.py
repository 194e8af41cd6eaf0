"""Turn a published checkpoint into one of ours: safetensors and a JSON spec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_neuropil.errors import OutputError, SettingsError


def convert_checkpoint(
    network: str, published: str | Path, out: str | Path, *, overwrite: bool = False
) -> Path:
    """Convert a checkpoint; the tensors keep full precision.

    Parameters
    ----------
    network : str
        Row of the table of networks, for example ``segneuron``.
    published : path-like
        The authors' file; opened with the safe unpickler.
    out : path-like
        ``NAME.safetensors``; ``NAME.json`` is written beside it.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    NeuropilError
        If the file is unsafe, damaged or of another network, or the output exists.
    """
    from napari_neuropil.networks.checkpoint import save_checkpoint
    from napari_neuropil.networks.registry import convert_state

    out = _checked(out, overwrite=overwrite)
    state, spec = convert_state(network, Path(published))
    save_checkpoint(out, state, spec, half=False)
    return out


def convert_detector(
    tensors: str | Path,
    out: str | Path,
    *,
    architecture: str,
    classes: Sequence[str],
    image_side: int,
    pixel_size: float,
    overwrite: bool = False,
) -> Path:
    """Take over a detector that was trained with ultralytics elsewhere.

    Parameters
    ----------
    tensors : path-like
        Its tensors alone; a ``.pt`` as ultralytics writes it is a pickle and refused, with the
        line that saves the tensors.
    out : path-like
        ``NAME.safetensors``; ``NAME.json`` is written beside it.
    architecture, classes, image_side, pixel_size
        As `prompts.detector_weights.import_detector`.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    NeuropilError
        If a fact is missing, the file is unsafe, damaged or of another network, the output exists,
        or ultralytics is not installed.
    """
    out = _checked(out, overwrite=overwrite)
    given = {
        "--architecture": architecture,
        "--classes": classes,
        "--image-side": image_side,
        "--pixel-size": pixel_size,
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise SettingsError(
            f"A detector's tensors do not say all: {', '.join(missing)} is missing.",
            ", ".join(given),
            "for example --architecture yolo26n --classes dendrite --image-side 512 "
            "--pixel-size 12.",
        )
    from napari_neuropil.prompts.detector_weights import import_detector

    import_detector(
        Path(tensors),
        out,
        architecture=architecture,
        classes=classes,
        image_side=image_side,
        pixel_size=pixel_size,
    )
    return out


def _checked(out: str | Path, *, overwrite: bool) -> Path:
    out = Path(out)
    if out.suffix != ".safetensors":
        raise SettingsError(f"{out} is no name for a checkpoint.", "NAME.safetensors", "")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists.", "a new file", "choose another name or --overwrite.")
    return out
