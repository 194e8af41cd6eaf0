"""Which device computes, and how much it can hold."""

from __future__ import annotations

import os

import psutil
import torch

from napari_neuropil.errors import SettingsError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes cuda, then mps, then cpu.

    Raises
    ------
    SettingsError
        If the name is unknown or this machine or torch build lacks the device.
    """
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if why_unavailable(d) is None))
    reason = why_unavailable(name)
    if reason is not None:
        raise SettingsError(
            f"Device {name!r} cannot be used: {reason}",
            f"one of {', '.join(DEVICES)} that this machine has",
            "choose auto or cpu.",
        )
    return torch.device(name)


def why_unavailable(name: str) -> str | None:
    """Return why a device cannot be used, or None if it can."""
    if name == "cpu":
        return None
    if name == "cuda":
        if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
            return "this build of torch has no CUDA."
        return None if torch.cuda.is_available() else "no NVIDIA GPU or driver was found."
    if name == "mps":
        if not torch.backends.mps.is_built():
            return "this build of torch has no Metal support (macOS on Apple silicon has)."
        return None if torch.backends.mps.is_available() else "Metal is not available."
    return "there is no such device."


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free for tensors on `device`."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def usable_cores() -> int:
    """Return how many cores this process may use (a cluster job may have fewer than the node)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
