"""Turn a published checkpoint into one of ours: safetensors and a JSON spec."""

from __future__ import annotations

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

    out = Path(out)
    if out.suffix != ".safetensors":
        raise SettingsError(f"{out} is no name for a checkpoint.", "NAME.safetensors", "")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists.", "a new file", "choose another name or --overwrite.")
    state, spec = convert_state(network, Path(published))
    save_checkpoint(out, state, spec, half=False)
    return out
