"""Whose loop trains: chosen by the base and by what is installed, and said before it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_neuropil.errors import MissingExtraError, SettingsError
from napari_neuropil.networks.vit_sam import VitSize, build_vit_sam
from napari_neuropil.prompts import _micro_sam
from napari_neuropil.workflows.requests import Progress
from napari_neuropil.workflows.tuning.requests import TunePlan, TuneRequest
from napari_neuropil.workflows.tuning.tune import plan_tuning, tune

Make = Callable[..., TuneRequest]


@pytest.fixture(scope="module")
def published(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of the published make, two thousand times smaller, with random values."""
    del base  # skips where segment_anything is absent
    network = build_vit_sam(VitSize(32, 2, 2, 64, 16, 4, 3, (1,), 32, 8, 2, 64, 3, 32, 3))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    path = tmp_path_factory.mktemp("published") / "sam.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("installed", [True, False])
def test_auto_is_for_published_networks(
    request_for: Make, published: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.setattr(_micro_sam, "is_installed", lambda: installed)
    assert plan_tuning(request_for(base=str(published))).trainer == (
        "micro_sam" if installed else "own"
    )
    assert plan_tuning(request_for(base=str(published), trainer="own")).trainer == "own"
    assert plan_tuning(request_for()).trainer == "own"
    if installed:
        assert plan_tuning(request_for(trainer="micro_sam")).trainer == "micro_sam"


def test_the_line_that_installs_it(request_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, extra: str) -> None:
        raise MissingExtraError(name, "", f'pip install "napari-neuropil[{extra}]"')

    monkeypatch.setattr(_micro_sam, "is_installed", lambda: False)
    monkeypatch.setattr(_micro_sam, "import_extra", absent)
    request = request_for(trainer="micro_sam")
    with pytest.raises(MissingExtraError, match=r"napari-neuropil\[sam\]"):
        tune(request)
    assert not list(Path(request.out).parent.iterdir())


def test_half_an_installation_is_said(request_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str, _attribute: str) -> None:
        raise ModuleNotFoundError("No module named 'torch_em'")

    monkeypatch.setattr(_micro_sam, "is_installed", lambda: True)
    monkeypatch.setattr(_micro_sam, "_find", broken)
    with pytest.raises(SettingsError, match=r"torch_em(?s:.*)comes with neuropil"):
        tune(request_for(trainer="micro_sam"))


@pytest.mark.parametrize("parts", ["decoder", "lora", "all"])
def test_micro_sam_trains_a_published_network(
    request_for: Make, published: Path, parts: str
) -> None:
    pytest.importorskip("micro_sam", reason="micro_sam is not installed")
    request = request_for(base=str(published), parts=parts, steps=4)
    told: list[Progress] = []
    plans: list[TunePlan] = []

    def stop(progress: Progress) -> None:
        if progress.stage == "train" and progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(request, report=stop)
    found = tune(request, report=told.append, planned=plans.append)
    assert (plans[0].trainer, plans[0].done_steps) == ("micro_sam", 2)
    steps = [item for item in told if item.stage == "train"]
    assert [item.done for item in steps] == [3, 4]
    assert set(steps[0].values) == {"mask", "score"}
    assert [item.done for item in told if item.stage == "held-out"] == [2, 4]
    # Four steps from random values: measured by the same rule as ours.
    assert found.objects == 12
    assert set(found.after) == {"box", "point"}
    assert found.accepted == Path(request.out).exists()
