"""The words of a fine-tuning, what its events add up to, and what nobody edited. No window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import SettingsError
from napari_neuropil.plugin.dendrites.cross_section import CrossSection, Dot, Prompts
from napari_neuropil.plugin.dendrites.records import Target
from napari_neuropil.plugin.dendrites.tuning_run import TuningRun
from napari_neuropil.plugin.dendrites.tuning_text import (
    detector_plan_text,
    outcome_text,
    plan_text,
)
from napari_neuropil.plugin.dendrites.tuning_words import (
    DetectorForm,
    TuneForm,
    TuningSource,
    committed_segments,
    free_output,
)
from napari_neuropil.plugin.dendrites.unedited import forgetting, unedited
from napari_neuropil.plugin.dendrites.work import Work
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.proofreading import DrawnRows, ProofreadingSession

PROJECT = Path("data") / "brain.neuropil"
OUT = Path("data") / "brain-tuned-1.safetensors"


def test_the_words_of_a_form() -> None:
    plain = TuneForm().words("brain.zarr", PROJECT, OUT, None)
    assert plain == [
        *("tune", "brain.zarr", "--project", str(PROJECT), "--out", str(OUT)),
        *("--segments", "done", "--base", "compact", "--part", "decoder"),
        *("--trainer", "auto", "--held-out", "sections", "--steps", "200", "--json"),
    ]
    form = TuneForm(
        TuningSource("ids", " 1, 5 - 9 "),
        "vit_b",
        part="lora",
        trainer="own",
        held_out="segments",
        steps=50,
        minutes=5.0,
        pseudo="11 - 30",
    )
    assert form.words("brain.zarr", PROJECT, OUT, Path("cache"))[6:] == [
        *("--segments", "1,5-9", "--base", "vit_b", "--part", "lora"),
        *("--trainer", "own", "--held-out", "segments"),
        *("--steps", "50", "--minutes", "5", "--pseudo", "11-30", "--cache-dir", "cache"),
        "--json",
    ]
    detector = DetectorForm(TuningSource(committed=(3, 8)), "mine.safetensors", 7)
    assert detector.words("brain.zarr", PROJECT, OUT) == [
        *("tune-detector", "brain.zarr", "--project", str(PROJECT), "--out", str(OUT)),
        *("--segments", "done,3,8", "--base", "mine.safetensors", "--epochs", "7", "--json"),
    ]


def test_the_command_line_takes_these_words() -> None:
    import typer

    from napari_neuropil.cli import tune, tune_detector

    app = typer.Typer()
    tune.register(app)
    tune_detector.register(app)
    group: Any = typer.main.get_command(app)
    form = TuneForm(minutes=5.0, pseudo="2")
    for words in (
        [*form.words("brain.zarr", PROJECT, OUT, Path("cache")), "--dry-run", "--overwrite"],
        [*DetectorForm(base="a.safetensors").words("brain.zarr", PROJECT, OUT), "--dry-run"],
    ):
        context = group.commands[words[0]].make_context(words[0], list(words[1:]))
        assert context.params["image"] == "brain.zarr"
        assert context.params["dry_run"]
        assert context.params["as_json"]


def test_what_is_learned_from() -> None:
    assert TuningSource("only-done", committed=(3,)).words == "done"
    assert TuningSource("corrected", "7").words == "corrected"
    with pytest.raises(SettingsError, match="No segments are named"):
        _ = TuningSource("ids", "  ").words


def test_a_free_name_is_no_file_and_no_run(tmp_path: Path) -> None:
    project = tmp_path / "brain.neuropil"
    names = [tmp_path / f"brain-tuned-{n}.safetensors" for n in range(1, 5)]
    assert free_output(project, "tuned") == names[0]
    names[0].touch()
    names[1].with_suffix(".run").mkdir()
    assert free_output(project, "tuned") == names[2]
    assert free_output(project, "tuned", [names[2]]) == names[3]


def test_segments_that_drawings_became(brain: Path) -> None:
    mask = np.ones((6, 6), bool)
    with ProofreadingSession.open(brain) as session:
        assert committed_segments(session, [1]) == ()
        rows = DrawnRows([(z, 4, 4, mask) for z in range(2, 6)], grid=(8, 40, 60))
        edit = session.commit(session.propose_drawing(rows))
        made = session.segment_at((3, 6, 6))
        assert committed_segments(session, [edit.id]) == (made,)
        assert committed_segments(session, []) == ()
        session.undo()
        assert committed_segments(session, [edit.id]) == ()


def test_events_add_up() -> None:
    run = TuningRun().heard({"stage": "read", "done": 3, "total": 8})
    assert run.text == "Reading the segments: 3 of 8 sections"
    assert run.lines == [[], []]
    assert run.curve_text == ""
    run = run.heard({"stage": "before", "done": 2, "total": 2, "values": {"box": 0.5}})
    assert run.before == {"box": 0.5}
    for step, loss in ((1, 0.8), (3, 0.4)):
        event = {"stage": "train", "done": step, "total": 4, "values": {"mask": loss}}
        run = run.heard(event)
    run = run.heard({"stage": "held-out", "done": 0, "total": 4, "values": {"held_out": 0.5}})
    run = run.heard({"stage": "held-out", "done": 4, "total": 4, "values": {"held_out": 0.7}})
    assert run.text == "Training: step 3 of 4, loss 0.400", "the curve is no stage"
    curve, losses = run.lines
    np.testing.assert_allclose(curve, [0.5, 0.55, 0.6, 0.65, 0.7])
    np.testing.assert_allclose(losses, [0.8, 0.8, 0.6, 0.4])
    assert run.curve_text == "Held-out IoU at step 4: 0.700 (best 0.700)"
    again = run.heard({"stage": "train", "done": 2, "total": 4, "values": {"mask": 0.5}})
    assert again.losses == ((1, 0.8), (2, 0.5)), "what came after a saved state is done anew"


@pytest.mark.parametrize("values", [None, [], {"held_out": None}, {"other": 1}])
def test_events_without_numbers_do_no_harm(values: object) -> None:
    for stage in ("train", "held-out", "after", "", "new"):
        run = TuningRun().heard({"stage": stage, "done": None, "total": "x", "values": values})
        assert run.curve == run.losses == ()
        assert isinstance(run.text, str)


def test_plans_in_words() -> None:
    plan = {
        "training_objects": 120,
        "training_segments": [1, 4],
        "training_sections": [0, 1, 5],
        "held_out_objects": 1,
        "held_out_segments": list(range(1, 9)),
        "held_out_sections": [9],
        "pseudo_objects": 7,
        "left_out": 2,
        "steps": 200,
        "done_steps": 40,
        "device": "cpu",
        "notices": ["Mind the gap."],
    }
    assert plan_text(plan).splitlines() == [
        "Learns from 120 cross-sections of 2 segments (1, 4) in 3 sections (0-5)",
        "Measured on 1 cross-section of 8 segments in 1 section (9); the network never learns from "
        "these",
        "Joined by 7 cross-sections unchecked",
        "Left out: 2 cross-sections between the two",
        "200 steps on cpu, from step 40 on",
        "Mind the gap.",
    ]
    detector = {
        "training_sections": [0, 7],
        "held_out_sections": [8, 9],
        "segments": 3,
        "epochs": 20,
    }
    assert detector_plan_text(detector).splitlines() == [
        "Learns to find 3 segments in sections 0-6",
        "Measured on section 8, which it never learns from",
        "20 times through these sections",
    ]


def test_outcomes_in_words() -> None:
    facts = {
        "accepted": True,
        "before": {"box": 0.6, "point": 0.4},
        "after": {"box": 0.7, "point": 0.45},
        "gain": 0.075,
        "low": 0.01,
        "high": 0.1,
        "objects": 8,
        "segments": 2,
        "steps": 40,
        "seconds": 3.0,
    }
    assert outcome_text(facts).splitlines() == [
        "Better on the held-out part, before and after:",
        "   by a box: 0.600 → 0.700",
        "   by a point: 0.400 → 0.450",
        "   gain +0.075, between +0.010 and +0.100 (95 %), on 8 cross-sections of 2 segments",
        "40 steps, 3 s",
    ]
    text = outcome_text({**facts, "accepted": False, "verdict": "no clear gain"})
    assert text.startswith("Not better (no clear gain)")
    assert "Rolled back" in text
    detector = outcome_text({"accepted": True, "after": {"ap50": 0.5}, "sections": 4})
    assert "on 4 sections" in detector


def boxed(known: bool = True) -> CrossSection:
    mask = PackedMask.of(np.ones((4, 4), bool)) if known else None
    return CrossSection(Prompts((0.0, 0.0, 4.0, 4.0)), mask, known=known)


def test_only_answers_to_a_box_alone_are_asked_again() -> None:
    plain = boxed()
    work = Work().added(2, plain).added(3, plain, 0.9).added(4, boxed(known=False), 0.8)
    dots = replace(plain, prompts=replace(plain.prompts, dots=(Dot(1, 1),)))
    painted = CrossSection(Prompts(base=plain.mask), plain.mask, known=True)
    work = work.added(5, dots).added(6, painted).added(7, plain).accepting(7)
    work = work.added(1, plain)
    work = work.rejecting(1)
    assert unedited(work) == (1, 2)
    again = forgetting(work, unedited(work))
    for number in (1, 2):
        section = again.proposals[number].section
        assert section.wants_mask
        assert section.mask is plain.mask, "shown until the new one is there"
        assert section.prompts is not plain.prompts, "older answers are for others"
        assert section.prompts.box == plain.prompts.box
    for number in (3, 4, 5, 6, 7):
        assert again.proposals[number] is work.proposals[number]
    assert again.section_at(Target("proposal", 1, 2)) is again.proposals[1].section
    assert forgetting(work, ()) is work
