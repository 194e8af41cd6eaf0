"""``neuropil convert``: published weights into our checkpoint layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_DETECTOR = "detector"


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("convert")(convert)


def convert(
    method: Annotated[
        str,
        typer.Argument(
            help="What the weights belong to: segneuron, voxel-embeddings, agq or detector."
        ),
    ],
    published: Annotated[
        Path,
        typer.Argument(
            help="The authors' checkpoint (.ckpt, .pth); of a detector its tensors alone (.pt)."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="File to write (.safetensors; a .json lies beside).")],
    architecture: Annotated[
        str, typer.Option(help="Of a detector: what it was built from, for example yolo26n.")
    ] = "",
    classes: Annotated[
        str, typer.Option(help="Of a detector: what it finds, with commas, in its own order.")
    ] = "",
    image_side: Annotated[
        int, typer.Option(help="Of a detector: pixels of its training images.")
    ] = 0,
    pixel_size: Annotated[
        float, typer.Option(help="Of a detector: edge of these pixels in nm.")
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a checkpoint that exists.")
    ] = False,
) -> None:
    """Convert the authors' checkpoint; nothing in it is ever run as code."""
    from napari_neuropil.cli.reporting import show_facts

    if method == _DETECTOR:
        from napari_neuropil.workflows.convert import convert_detector

        names = [name.strip() for name in classes.split(",") if name.strip()]
        convert_detector(
            published,
            out,
            architecture=architecture,
            classes=names,
            image_side=image_side,
            pixel_size=pixel_size,
            overwrite=overwrite,
        )
    else:
        from napari_neuropil.workflows.convert import convert_checkpoint

        convert_checkpoint(method, published, out, overwrite=overwrite)
    show_facts({"checkpoint": str(out)})
