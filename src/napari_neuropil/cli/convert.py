"""``neuropil convert``: published weights into our checkpoint layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("convert")(convert)


def convert(
    method: Annotated[
        str,
        typer.Argument(help="Method the weights belong to: segneuron, voxel-embeddings or agq."),
    ],
    published: Annotated[Path, typer.Argument(help="The authors' checkpoint (.ckpt, .pth).")],
    out: Annotated[Path, typer.Argument(help="File to write (.safetensors; a .json lies beside).")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a checkpoint that exists.")
    ] = False,
) -> None:
    """Convert the authors' checkpoint; nothing in it is ever run as code."""
    from napari_neuropil.cli.reporting import show_facts
    from napari_neuropil.workflows.convert import convert_checkpoint

    convert_checkpoint(method, published, out, overwrite=overwrite)
    show_facts({"checkpoint": str(out)})
