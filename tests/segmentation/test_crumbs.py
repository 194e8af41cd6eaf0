"""Crumbs go, gaps are filled within their section."""

from __future__ import annotations

import numpy as np

from napari_neuropil.segmentation.crumbs import fill_sections, without_crumbs


def test_small_labels_go_and_others_keep_their_names() -> None:
    labels = np.array([[[1, 1, 1, 2, 0, 3, 3]]], np.uint64)
    assert without_crumbs(labels, 2).tolist() == [[[1, 1, 1, 0, 0, 3, 3]]]
    assert without_crumbs(labels, 0).tolist() == labels.tolist()


def test_where_all_would_go_all_stay() -> None:
    labels = np.array([[[1, 2, 0]]], np.uint64)
    assert without_crumbs(labels, 9).tolist() == labels.tolist()


def test_gaps_take_the_nearest_label_of_their_section() -> None:
    labels = np.zeros((3, 1, 7), np.uint64)
    labels[0, 0, 0], labels[0, 0, 6] = 4, 9
    labels[1, 0, 3] = 7
    filled = fill_sections(labels)
    assert filled[0, 0].tolist() in ([4, 4, 4, 4, 9, 9, 9], [4, 4, 4, 9, 9, 9, 9])
    assert (filled[1] == 7).all()
    assert (filled[2] == 0).all(), "a section without labels stays background"
    assert labels[0, 0, 1] == 0, "the input is left alone"
