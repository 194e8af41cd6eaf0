"""Correct a segmentation by a program: answer the queue, take it back, look at the log."""

import shutil

from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.queue import CandidateQueue
from napari_neuropil.workflows.samples import SAMPLE_PROJECT, find_sample

project = shutil.copytree(find_sample(SAMPLE_PROJECT), "example.neuropil")
with ProofreadingSession.open(project) as session:
    queue = CandidateQueue(session)
    if candidate := queue.next():
        print(f"{candidate.kind} at {candidate.position}: {candidate.gain:.4f} bits of VI")
        queue.accept()
        session.undo()
    for row in session.history():
        print(row.id, row.text, "" if row.active else "(taken back)")
