"""Stands in for `neuropil tune`, `tune-detector` and `prompts`: same words in, same lines out.

FAKE_TUNING chooses: accept, reject, slow (waits in the middle, and saves its state there), yolo
(no ultralytics). Every command's words go to FAKE_LOG, a line each. Prompts are answered by
fake_prompts.py; with a tuned segmenter masks have a pixel less on each side.
"""
# ruff: noqa: T201 - what it prints is the protocol

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

BEHAVIOUR = os.environ.get("FAKE_TUNING", "accept")
STEPS = (0, 20, 40)


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def prompts(words: list[str]) -> int:
    import fake_prompts

    plain = fake_prompts.answer

    def smaller(wish: dict[str, Any]) -> None:
        if wish.get("box"):
            y0, x0, y1, x1 = wish["box"]
            wish["box"] = [y0 + 1, x0 + 1, y1 - 1, x1 - 1]
        plain(wish)

    if "tuned" in Path(option(words, "--segmenter")).name:
        fake_prompts.answer = smaller
    return fake_prompts.main()


def tune(words: list[str]) -> int:
    out = Path(option(words, "--out"))
    folder = out.with_suffix(".run")
    state = folder / "state"
    done = int(state.read_text()) if state.exists() else 0
    say("progress", stage="read", done=1, total=2, message="")
    say(
        "plan",
        training_objects=30,
        training_segments=[1, 4],
        training_sections=[0, 1, 2, 3],
        held_out_objects=8,
        held_out_segments=[1, 4],
        held_out_sections=[6, 7],
        pseudo_objects=0,
        left_out=3,
        steps=40,
        done_steps=done,
        device="cpu",
        folder=str(folder),
        notices=["Fewer than five segments."],
    )
    if "--dry-run" in words:
        return 0
    folder.mkdir(exist_ok=True)
    say("progress", stage="before", done=2, total=2, message="", values={"box": 0.6, "point": 0.4})
    for step in STEPS:
        if step >= done:
            loss = {"mask": 0.5 - step / 100, "score": 0.1}
            say("progress", stage="train", done=step + 1, total=40, message="", values=loss)
        values = {"held_out": 0.6 + step / 400}
        say("progress", stage="held-out", done=step, total=40, message="", values=values)
        if BEHAVIOUR == "slow" and step == STEPS[1]:
            state.write_text("20")
            time.sleep(60)
    accepted = BEHAVIOUR != "reject"
    after = {"box": 0.7, "point": 0.45} if accepted else {"box": 0.6, "point": 0.41}
    say("progress", stage="after", done=2, total=2, message="", values=after)
    if accepted:
        out.write_bytes(b"weights")
    say(
        "done",
        accepted=accepted,
        verdict="better" if accepted else "no clear gain",
        reason="because",
        before={"box": 0.6, "point": 0.4},
        after=after,
        gain=0.075,
        low=0.01 if accepted else -0.02,
        high=0.1,
        objects=8,
        segments=2,
        steps=40,
        seconds=3.0,
        checkpoint=str(out) if accepted else None,
        folder=str(folder),
    )
    return 0


def tune_detector(words: list[str]) -> int:
    out = Path(option(words, "--out"))
    if BEHAVIOUR == "yolo" and "--dry-run" not in words:
        say(
            "error",
            type="MissingExtraError",
            found="The package 'ultralytics' is not installed.",
            expected="napari-neuropil with its extra 'yolo'",
            cure='pip install "napari-neuropil[yolo]"',
        )
        return 2
    say(
        "plan",
        training_sections=[0, 5],
        held_out_sections=[6, 8],
        segments=2,
        epochs=20,
        folder=str(out.with_suffix(".run")),
        notices=[],
    )
    if "--dry-run" in words:
        return 0
    say("progress", stage="train", done=1, total=20, message="box 0.5")
    out.write_bytes(b"weights")
    say(
        "done",
        accepted=True,
        verdict="better",
        reason="because",
        before={"ap50": 0.5, "precision": 0.6, "recall": 0.5},
        after={"ap50": 0.6, "precision": 0.7, "recall": 0.6},
        gain=0.1,
        low=0.05,
        high=0.15,
        sections=4,
        seconds=70.0,
        checkpoint=str(out),
        folder="",
    )
    return 0


if __name__ == "__main__":
    words = sys.argv[1:]
    with Path(os.environ["FAKE_LOG"]).open("a", encoding="utf-8") as log:
        log.write(json.dumps(words) + "\n")
    try:
        commands = {"tune": tune, "tune-detector": tune_detector, "prompts": prompts}
        code = commands[words[0]](words)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
