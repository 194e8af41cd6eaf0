"""``neuropil info``: versions, devices, memory, methods and checkpoints; facts of a project."""

from __future__ import annotations

import json
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

_PACKAGES: Final = (
    "napari-neuropil",
    "napari",
    "torch",
    "numpy",
    "zarr",
    "bioimage-cpp",
    "PyQt6",
)


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("info")(info)


def info(
    topic: Annotated[
        str | None,
        typer.Argument(help="methods: each method's settings in full. Or a project folder."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Show what is installed and can be used; of a project, what it is and its edits."""
    if topic is not None and topic != "methods":
        _show_project(topic, as_json=as_json)
        return
    if topic == "methods":
        if as_json:
            typer.echo(json.dumps({"methods": describe_methods()}))
        else:
            show_methods(advanced=True)
        return
    facts = collect_facts()
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        _show_facts(facts)


def collect_facts() -> dict[str, Any]:
    """Return what `neuropil info --json` writes."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        **_describe_machine(),
        "methods": describe_methods(),
        "checkpoints": _describe_checkpoints(),
    }


def describe_methods() -> list[dict[str, Any]]:
    """Return each method's name, title and settings."""
    from napari_neuropil.cli.settings import describe_settings
    from napari_neuropil.methods import METHODS

    return [
        {
            "name": name,
            "title": entry.title,
            "settings": [s._asdict() for s in describe_settings(entry.settings_class)],
        }
        for name, entry in METHODS.items()
    ]


def show_methods(*, advanced: bool = False) -> None:
    """Print each method's settings as a table.

    Parameters
    ----------
    advanced : bool
        Also those that are seldom touched.
    """
    from rich.table import Table

    from napari_neuropil.cli.reporting import console
    from napari_neuropil.cli.settings import describe_settings
    from napari_neuropil.methods import METHODS

    target = console()
    for name, entry in METHODS.items():
        target.print(f"Settings of {name} (--set NAME=VALUE): {entry.title}", markup=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("name", "default", "bounds", "meaning"):
            table.add_column(header, overflow="fold")
        folded = 0
        for setting in describe_settings(entry.settings_class):
            if setting.advanced and not advanced:
                folded += 1
                continue
            default = f"{setting.default} {setting.unit}".strip()
            table.add_row(setting.name, default, setting.bounds, setting.description)
        target.print(table)
        if folded:
            target.print(f"{folded} more, seldom touched: neuropil info methods")


def _show_project(path: str, *, as_json: bool) -> None:
    from napari_neuropil.cli.reporting import show_facts

    if not Path(path).exists():
        raise typer.BadParameter(
            "neither the topic methods nor a project folder", param_hint="topic"
        )
    from napari_neuropil.workflows.project_facts import describe_project

    facts = describe_project(path)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    shown = {name: value for name, value in facts.items() if name not in ("notices", "last_edit")}
    for name in ("shape", "voxel_size_nm"):
        if name in shown:
            shown[name] = " x ".join(f"{value:g}" for value in shown[name])
    for name in ("kinds", "statuses"):
        counts = shown.pop(name, {})
        if counts:
            shown[name] = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    if facts.get("last_edit"):
        shown["last_edit"] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["last_edit"]))
    show_facts({name: value for name, value in shown.items() if value != ""})
    for notice in facts["notices"]:
        show_facts({"note": notice})


def _show_facts(facts: dict[str, Any]) -> None:
    from rich.table import Table

    from napari_neuropil.cli.reporting import console, format_bytes

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    table.add_row("python", f"{facts['python']} on {facts['platform']}")
    for name, version in facts["packages"].items():
        table.add_row(name, version or "not installed")
    for device in facts["devices"]:
        reason = device["why_unavailable"]
        said = f"no: {reason}" if reason else " ".join(filter(None, ["yes", device["name"]]))
        table.add_row(f"device {device['device']}", said)
    table.add_row("cores", str(facts["cores"]))
    memory = facts["memory"]
    table.add_row(
        "memory", f"{format_bytes(memory['available'])} free of {format_bytes(memory['total'])}"
    )
    for method in facts["methods"]:
        table.add_row("method", f"{method['name']}: {method['title']}")
    for checkpoint in facts["checkpoints"]:
        table.add_row("checkpoint", _checkpoint_line(checkpoint))
    console().print(table)


def _checkpoint_line(checkpoint: dict[str, Any]) -> str:
    from napari_neuropil.cli.reporting import format_bytes

    if checkpoint["path"] is None:
        return f"{checkpoint['network']}: {checkpoint['why_unavailable']}"
    size = format_bytes(checkpoint["bytes"])
    return f"{checkpoint['network']}: {checkpoint['path']} ({size})"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _describe_machine() -> dict[str, Any]:
    import psutil

    from napari_neuropil.inference.devices import DEVICES, usable_cores, why_unavailable

    memory = psutil.virtual_memory()
    names = [name for name in DEVICES if name != "auto"]
    return {
        "devices": _describe_devices({name: why_unavailable(name) for name in names}.items()),
        "cores": usable_cores(),
        "memory": {"total": memory.total, "available": memory.available},
    }


def _describe_devices(reasons: Iterable[tuple[str, str | None]]) -> list[dict[str, Any]]:
    import torch

    return [
        {
            "device": name,
            "why_unavailable": reason,
            "name": torch.cuda.get_device_name() if name == "cuda" and reason is None else "",
        }
        for name, reason in reasons
    ]


def _describe_checkpoints() -> list[dict[str, Any]]:
    from napari_neuropil.errors import CheckpointError
    from napari_neuropil.methods import METHODS
    from napari_neuropil.networks.checkpoint import load_spec
    from napari_neuropil.networks.pretrained import pretrained_path

    checkpoints: list[dict[str, Any]] = []
    for network in METHODS:
        try:
            path = pretrained_path(network)
            spec = load_spec(path).model_dump(mode="json")
        except CheckpointError as error:
            checkpoints.append({"network": network, "path": None, "why_unavailable": error.found})
        else:
            checkpoints.append(
                {"network": network, "path": str(path), "bytes": path.stat().st_size, "spec": spec}
            )
    return checkpoints
