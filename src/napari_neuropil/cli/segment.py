"""``neuropil segment``: an image volume into a project of neurons."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from napari_neuropil.cli.options import Device, EventsAsJson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_neuropil.workflows.requests import SegmentPlan, SegmentRequest


class _SegmentCommand(TyperCommand):
    """Adds the methods' settings to the help; they are imported only when somebody reads it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        from napari_neuropil.cli.info import show_methods

        show_methods()


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("segment", cls=_SegmentCommand)(segment)


def segment(  # noqa: PLR0913 - a command's parameters are its options
    image: Annotated[
        str, typer.Argument(help="Volume: .tif, .npy, .zarr (OME-Zarr or plain), file.h5/dataset.")
    ],
    project: Annotated[Path, typer.Argument(help="Folder to make, for example brain.neuropil.")],
    method: Annotated[
        str, typer.Option(help="Method; neuropil info methods lists them.")
    ] = "segneuron",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights (.safetensors); without: the shipped ones.")
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Edge lengths in nm, where the file does not say."),
    ] = None,
    roi: Annotated[
        str | None,
        typer.Option(metavar="Z0:Z1,Y0:Y1,X0:X1", help="Only this box, in voxels."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.auto,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show blocks, time, memory and disk; do nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a project that was interrupted.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a project that exists.")
    ] = False,
    until: Annotated[
        str,
        typer.Option(
            metavar="STAGE",
            help="Stop after affinities, fragments or contacts; --resume goes on from there.",
        ),
    ] = "segments",
    again: Annotated[
        bool,
        typer.Option("--again", help="Keep what the network said; do the rest anew, see --set."),
    ] = False,
    as_json: EventsAsJson = False,
) -> None:
    """Segment the neurons of an electron microscopy volume."""
    request = _read_request(
        method,
        settings or [],
        image=image,
        project=str(project),
        checkpoint=None if checkpoint is None else str(checkpoint),
        voxel_size=voxel_size,
        roi=roi,
        device=device.value,
        resume=resume,
        overwrite=overwrite,
        until=until,
        again=again,
    )
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        # Here, so that what these imports may print does not reach the reader of --json.
        from napari_neuropil.workflows.plan import plan_segmentation
        from napari_neuropil.workflows.requests import LAST_STAGE
        from napari_neuropil.workflows.segment import run_stages
        from napari_neuropil.workflows.segment import segment as run_segmentation

        if dry_run:
            reporter.plan(plan_segmentation(request))
            return
        told: list[str] = []

        def show_plan(plan: SegmentPlan) -> None:
            told.extend(plan.notices)
            reporter.plan(plan)

        start = time.perf_counter()
        if request.until != LAST_STAGE:
            path = run_stages(request, report=reporter.progress, planned=show_plan)
            reporter.done(
                project=str(path),
                finished=request.until,
                seconds=round(time.perf_counter() - start, 1),
            )
            return
        result = run_segmentation(request, report=reporter.progress, planned=show_plan)
        for message in result.info.notices:
            if message not in told:
                reporter.notice(message)
        reporter.done(
            project=str(result.path),
            fragments=result.info.fragment_count,
            segments=_count_segments(result.lookup),
            seconds=round(time.perf_counter() - start, 1),
        )


def _read_request(method: str, words: list[str], **fields: Any) -> SegmentRequest:
    from pydantic import ValidationError

    from napari_neuropil.cli.settings import read_settings, settings_error
    from napari_neuropil.geometry import VoxelSize
    from napari_neuropil.methods import method_entry
    from napari_neuropil.workflows.requests import SegmentRequest

    settings = read_settings(method_entry(method).settings_class, words)
    if fields["voxel_size"] is not None:
        fields["voxel_size"] = tuple(VoxelSize.parse(fields["voxel_size"]))
    try:
        return SegmentRequest(
            method=method, settings=settings.model_dump(mode="json", exclude_unset=True), **fields
        )
    except ValidationError as error:
        raise settings_error(error) from error


def _count_segments(lookup: NDArray[np.uint64]) -> int:
    import numpy as np

    return int(np.count_nonzero(np.unique(lookup)))
