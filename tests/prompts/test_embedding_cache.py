"""Embeddings come back from disk as they went; damage, full disks and other programs are met."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.prompts import embedding_folder
from napari_neuropil.prompts.embedding_cache import EmbeddingCache, embedding_bytes
from napari_neuropil.prompts.embedding_file import (
    DamagedEmbeddingError,
    embedding_key,
    read_embedding,
    write_embedding,
)
from napari_neuropil.prompts.segmenter import ImageEmbedding


def _embedding(value: float = 0.0, side: int = 8) -> ImageEmbedding:
    grid = np.arange(side * side, dtype=np.float32).reshape(side, side) + value
    # Not contiguous: safetensors would store its memory, not its values.
    return ImageEmbedding({"features": grid.T, "count": np.array([3, -4], np.int64)}, (100, 60))


def _key(number: int) -> str:
    return embedding_key(np.full((4, 5), number, np.uint8), "weights")


def _assert_same(found: ImageEmbedding | None, wanted: ImageEmbedding) -> None:
    assert found is not None
    assert found.shape == wanted.shape
    assert found.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype


def test_keys_tell_content_apart() -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    other = grey.copy()
    other[3, 4] += 1
    keys = [
        embedding_key(grey, "a"),
        embedding_key(other, "a"),
        embedding_key(grey.reshape(5, 4), "a"),
        embedding_key(grey, "b"),
        embedding_key(grey, "a", (0, 0, 4, 5)),
        embedding_key(grey, "a", (4, 0, 8, 5)),
    ]
    assert len(set(keys)) == len(keys)
    assert embedding_key(np.asfortranarray(grey), "a") == keys[0]


def test_another_program_reads_what_this_one_wrote(tmp_path: Path) -> None:
    wanted = _embedding(0.1)
    kept = EmbeddingCache(tmp_path / "new").put(_key(1), wanted)
    again = EmbeddingCache(tmp_path / "new")
    found = again.get(_key(1))
    _assert_same(found, kept)  # the same to the bit, whether it came from disk or not
    np.testing.assert_allclose(kept.arrays["features"], wanted.arrays["features"], rtol=1e-3)
    assert found is again.get(_key(1))
    assert again.get(_key(2)) is None
    with pytest.raises(ValueError, match="read-only"):
        kept.arrays["features"][0] = 1
    files = list((tmp_path / "new").iterdir())
    assert [f.name for f in files] == [f"{_key(1)}.safetensors"]


def test_floats_are_stored_as_halves_unless_they_overflow(tmp_path: Path) -> None:
    small = ImageEmbedding({"a": np.ones((64, 64), np.float32)}, (1, 1))
    large = ImageEmbedding({"a": np.full((64, 64), 1e6, np.float32)}, (1, 1))
    for number, (embedding, size) in enumerate(((small, 2), (large, 4))):
        path = tmp_path / str(number)
        write_embedding(path, "key", embedding)
        assert size * 4096 < path.stat().st_size < size * 4096 + 1000
        _assert_same(read_embedding(path, "key"), embedding)


def _cut(content: bytearray) -> bytearray:
    return content[:-7]


def _turned(content: bytearray) -> bytearray:
    content[-7] ^= 1
    return content


def _pickled(_content: bytearray) -> bytearray:
    return bytearray(b"\x80\x04cos\nsystem\n")


@pytest.mark.parametrize("damage", [_cut, _turned, _pickled, lambda _c: bytearray()])
def test_damaged_files_are_dropped_and_made_anew(tmp_path: Path, damage: object) -> None:
    EmbeddingCache(tmp_path).put(_key(1), _embedding())
    path = tmp_path / f"{_key(1)}.safetensors"
    path.write_bytes(damage(bytearray(path.read_bytes())))  # type: ignore[operator]
    with pytest.raises(DamagedEmbeddingError):
        read_embedding(path, _key(1))
    cache = EmbeddingCache(tmp_path)
    assert cache.get(_key(1)) is None
    assert not path.exists()
    cache.put(_key(1), _embedding())
    _assert_same(EmbeddingCache(tmp_path).get(_key(1)), _embedding())


def test_a_file_under_another_name_is_not_believed(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path).put(_key(1), _embedding())
    (tmp_path / f"{_key(1)}.safetensors").rename(tmp_path / f"{_key(2)}.safetensors")
    assert EmbeddingCache(tmp_path).get(_key(2)) is None


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, memory_bytes=0)
    for number in range(4):
        cache.put(_key(number), _embedding(number))
    size = (tmp_path / f"{_key(0)}.safetensors").stat().st_size
    for number in range(4):  # written in this order, long ago
        os.utime(tmp_path / f"{_key(number)}.safetensors", (number, number))
    (tmp_path / "notes.txt").write_text("not ours")
    reader = EmbeddingCache(tmp_path, memory_bytes=0, disk_bytes=int(4.3 * size))
    assert reader.get(_key(0)) is not None  # now the most recent
    reader.put(_key(4), _embedding(4))
    left = [n for n in range(5) if (tmp_path / f"{_key(n)}.safetensors").exists()]
    assert left == [0, 3, 4]  # at most nine tenths of the bound
    assert (tmp_path / "notes.txt").exists()


def test_one_larger_than_the_bound_is_kept_until_the_next(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, memory_bytes=0, disk_bytes=10)
    cache.put(_key(1), _embedding())
    assert EmbeddingCache(tmp_path).get(_key(1)) is not None
    os.utime(tmp_path / f"{_key(1)}.safetensors", (1, 1))
    cache.put(_key(2), _embedding())
    assert EmbeddingCache(tmp_path).get(_key(1)) is None
    assert EmbeddingCache(tmp_path).get(_key(2)) is not None


def test_partial_files_of_killed_programs_go(tmp_path: Path) -> None:
    for name, age in ((".old.partial", 1.0), (".new.partial", None)):
        (tmp_path / name).write_bytes(b"half")
        if age is not None:
            os.utime(tmp_path / name, (age, age))
    EmbeddingCache(tmp_path).put(_key(1), _embedding())
    assert not (tmp_path / ".old.partial").exists()
    assert (tmp_path / ".new.partial").exists()


def test_a_full_disk_is_told_once_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedding_folder, "write_embedding", full)
    heard: list[str] = []
    cache = EmbeddingCache(tmp_path, notice=heard.append)
    for number in range(3):
        cache.put(_key(number), _embedding(number))
    assert len(heard) == 1
    assert "No space left" in heard[0]
    _assert_same(cache.get(_key(0)), _embedding(0))


def test_nothing_half_written_stays_when_the_disk_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    cache = EmbeddingCache(tmp_path)
    cache.put(_key(1), _embedding())
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_a_notice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    heard: list[str] = []
    cache = EmbeddingCache(tmp_path / "file", notice=heard.append)
    cache.put(_key(1), _embedding())
    assert len(heard) == 1
    assert cache.get(_key(1)) is not None
    assert cache.get(_key(2)) is None


def test_memory_is_bounded() -> None:
    each = embedding_bytes(_embedding())
    cache = EmbeddingCache(None, memory_bytes=2 * each)
    for number in (1, 2):
        cache.put(_key(number), _embedding(number))
    assert cache.get(_key(1)) is not None
    cache.put(_key(3), _embedding(3))
    assert [n for n in (1, 2, 3) if cache.get(_key(n)) is not None] == [1, 3]
    cache.put(_key(3), _embedding(3))  # once more: counted once
    assert [n for n in (1, 2, 3) if cache.get(_key(n)) is not None] == [1, 3]


def test_capacity_counts_memory_or_disk(tmp_path: Path) -> None:
    assert EmbeddingCache(None, memory_bytes=100).capacity(30) == 3
    assert EmbeddingCache(None, memory_bytes=100).capacity(1000) == 1
    assert EmbeddingCache(tmp_path, memory_bytes=100, disk_bytes=600).capacity(30) == 20
