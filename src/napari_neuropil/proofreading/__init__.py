"""Proofreading: edits on fragments, logged durably, undone without limit. No torch, no Qt."""

from napari_neuropil.proofreading.edits import Decision, Delta, Edit, Effect, Proposal
from napari_neuropil.proofreading.session import ProofreadingSession

__all__ = ["Decision", "Delta", "Edit", "Effect", "ProofreadingSession", "Proposal"]
