"""Opens the network behind a name or a file: published, ours, or one that was fine-tuned.

A fine-tuned one is a small file over a base (`networks.tuned_part`), so its base is opened first,
which may be fine-tuned itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.pretrained import pretrained_path
from napari_neuropil.networks.promptable import PromptableNetwork
from napari_neuropil.networks.sam_checkpoint import COMPACT, load_sam
from napari_neuropil.networks.tuned_part import TunedSpec, apply_tuned, load_tuned
from napari_neuropil.prompts.sam_files import BUILT_IN, find_sam_file, is_model_name

_TUNED = "tuned-promptable"


@dataclass(frozen=True, eq=False, slots=True)
class OpenedNetwork:
    """A network and what is known of it.

    Parameters
    ----------
    network : PromptableNetwork
        In evaluation mode, on the CPU.
    name : str
        What users call it.
    tuning_base : str
        What a further fine-tuning is laid over: a name, or an absolute path.
    pixel_sizes_nm : tuple of float
        Pixels it was trained on, where known.
    """

    network: PromptableNetwork
    name: str
    tuning_base: str
    pixel_sizes_nm: tuple[float, ...]


def open_network(name_or_path: str | Path) -> OpenedNetwork:
    """Open a network by name or file.

    Parameters
    ----------
    name_or_path : str or path-like
        ``compact``, the name of a published model on this computer, or the path of a checkpoint.
        Nothing is downloaded.

    Raises
    ------
    CheckpointError
        If there is no such file, it is unsafe, damaged or of another make, or it was fine-tuned
        from a base that is not there or is another one now.
    MissingExtraError
        If a package is needed that is not installed.
    """
    return _open_named(name_or_path, ())


def read_network(path: Path, name: str, known_as: str | None = None) -> OpenedNetwork:
    """Open a network's file.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What users call it.
    known_as : str, optional
        What a fine-tuning notes as its base; None takes the file's absolute path.
    """
    return _read(path, name, known_as, ())


def is_tuned(path: Path) -> bool:
    """Whether a file is a fine-tuned part, by the spec beside it."""
    if path.suffix != ".safetensors":
        return False
    try:
        spec = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(spec, dict) and spec.get("kind") == _TUNED


def _open_named(name_or_path: str | Path, above: tuple[Path, ...]) -> OpenedNetwork:
    text = str(name_or_path)
    if text == BUILT_IN:
        return _read(pretrained_path(COMPACT), BUILT_IN, BUILT_IN, above)
    path = find_sam_file(name_or_path)
    named = isinstance(name_or_path, str) and is_model_name(text)
    return _read(path, text if named else path.stem, text if named else None, above)


def _read(path: Path, name: str, known_as: str | None, above: tuple[Path, ...]) -> OpenedNetwork:
    own = path.resolve()
    if own in above:
        raise CheckpointError(
            f"{path} is its own base, by way of {len(above)} files.",
            "a network at the bottom",
            "tune again from a network that was not tuned.",
        )
    if is_tuned(path):
        return _read_tuned(path, name, (*above, own))
    checkpoint = load_sam(path)
    sizes = checkpoint.spec.pixel_sizes_nm if checkpoint.spec else ()
    return OpenedNetwork(checkpoint.network, name, known_as or str(own), sizes)


def _read_tuned(path: Path, name: str, above: tuple[Path, ...]) -> OpenedNetwork:
    state, spec = load_tuned(path)
    base = _open_base(path, spec, above)
    found = base.network.fingerprint()
    if found != spec.base:
        raise CheckpointError(
            f"{path} was tuned from {spec.base_name}, but what goes by this name is another "
            f"network now (sha256 {found[:12]}).",
            f"the network with sha256 {spec.base[:12]}",
            "bring the former file back, or tune again.",
        )
    apply_tuned(base.network, state, spec)
    # Whatever learns next, all but the encoder comes from its own file. So after a decoder the
    # same base will do, and files do not pile up.
    bottom = base.tuning_base if spec.parts == "decoder" else str(above[-1])
    return OpenedNetwork(base.network.eval(), name, bottom, base.pixel_sizes_nm)


def _open_base(path: Path, spec: TunedSpec, above: tuple[Path, ...]) -> OpenedNetwork:
    noted = spec.base_name
    beside = path.parent / Path(noted).name
    there = Path(noted).is_absolute() and not Path(noted).is_file() and beside.is_file()
    try:
        return _open_named(beside if there else noted, above)
    except CheckpointError as error:
        raise CheckpointError(
            f"The network that {path} was tuned from cannot be opened: {error.found}",
            f"{noted or 'its base'}, with sha256 {spec.base[:12]}",
            f"put it back, or beside {path.name}.",
        ) from error
