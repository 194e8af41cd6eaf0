"""``neuropil prompts``: a worker that answers boxes and points with masks, for the window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import Device, PartOfImage, VoxelSizeWish


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("prompts")(prompts)


def prompts(
    image: Annotated[str, typer.Argument(help="The volume; HDF5 as file.h5/dataset.")],
    segmenter: Annotated[
        str | None,
        typer.Option(help="Name or file of the segmenter; without: the built-in one."),
    ] = None,
    detector: Annotated[
        Path | None, typer.Option(help="Weights of the detector; without: the built-in ones.")
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="Project of this image: its part, voxel size, grey values.")
    ] = None,
    voxel_size: VoxelSizeWish = None,
    roi: PartOfImage = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for image embeddings; without: they are kept in memory."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where networks run.")] = Device.auto,
) -> None:
    """Answer prompts on a volume: one JSON object a line on standard input, one on output.

    docs/cli.md lists requests and events. Ends with {"request": "quit"} or the end of the input.
    """
    import sys
    from contextlib import redirect_stdout

    from napari_neuropil.errors import NeuropilError
    from napari_neuropil.geometry import VoxelSize
    from napari_neuropil.workflows.prompting.messages import Problem, encode

    sink = sys.stdout.buffer
    with redirect_stdout(sys.stderr):
        try:
            from napari_neuropil.workflows.prompting.opening import open_prompt_tools
            from napari_neuropil.workflows.prompting.worker import run_prompt_worker

            tools = open_prompt_tools(
                image,
                segmenter=segmenter,
                detector=detector,
                project=project,
                voxel_size=VoxelSize.parse(voxel_size) if voxel_size else None,
                roi=roi,
                cache_dir=cache_dir,
                device=device.value,
            )
        except NeuropilError as error:
            sink.write(encode(Problem.of(error)))
            sink.flush()
            raise
        # Raw: a thread that waits in a buffered stream when Python ends would hold its lock, and
        # Python gives up with a fatal error.
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source:
            run_prompt_worker(tools, source.read, sink)
