"""The door to packages that only an extra installs."""

from __future__ import annotations

import importlib
from types import ModuleType

from napari_neuropil.errors import MissingExtraError


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package, on demand.

    Parameters
    ----------
    module : str
        Dotted name, for example ``"ultralytics"``.
    extra : str
        The extra of napari-neuropil that installs it, for example ``"yolo"``.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    MissingExtraError
        If the package is not installed. An import that fails inside an installed package is
        raised as it is: installing the extra again would not mend it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        raise MissingExtraError(
            f"The package {top!r} is not installed.",
            f"napari-neuropil with its extra {extra!r}",
            f'pip install "napari-neuropil[{extra}]"',
        ) from error
