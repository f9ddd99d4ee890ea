import logging
import multiprocessing
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.torch import save_file

from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore, default_cache_dir

KEY = "ab" + "0" * 62


def _file(directory):
    (file,) = directory.rglob("*.safetensors")
    return file


@given(arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.floats(-6e4, 6e4, width=32)))
def test_round_trip_is_within_half_precision(tmp_path_factory, values):
    store = EmbeddingStore(tmp_path_factory.mktemp("store"))
    store.put(KEY, torch.from_numpy(values))
    found = store.get(KEY)
    assert found.dtype == torch.float16
    assert found.shape == values.shape
    np.testing.assert_allclose(found.float().numpy(), values, rtol=2**-11, atol=2**-25)


def test_an_unknown_key_has_nothing(tmp_path):
    assert EmbeddingStore(tmp_path).get(KEY) is None


def test_keys_do_not_mix(tmp_path):
    store = EmbeddingStore(tmp_path)
    keys = [KEY, "ab" + "1" * 62, "cd" + "0" * 62]
    for value, key in enumerate(keys):
        store.put(key, torch.full((2, 1, 1), float(value)))
    assert [store.get(key)[0, 0, 0].item() for key in keys] == [0, 1, 2]


def test_what_one_store_keeps_another_on_the_same_directory_finds(tmp_path):
    EmbeddingStore(tmp_path / "deep" / "er").put(KEY, torch.ones(1, 2, 3))
    assert torch.equal(EmbeddingStore(str(tmp_path / "deep" / "er")).get(KEY), torch.ones(1, 2, 3).half())


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "other tensor", "other key"])
def test_a_damaged_file_is_reported_and_can_be_made_anew(tmp_path, caplog, damage):
    store = EmbeddingStore(tmp_path)
    store.put(KEY, torch.ones(2, 3, 3))
    file = _file(tmp_path)
    if damage == "other tensor":
        save_file({"something": torch.ones(1)}, file)
    elif damage == "other key":
        store.put(KEY[::-1], torch.zeros(2, 3, 3))
        (foreign,) = tmp_path.rglob(f"{KEY[::-1]}.safetensors")
        foreign.replace(file)
    elif damage == "one bit":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(file.read_bytes()[: 0 if damage == "empty" else -5])
    with caplog.at_level(logging.WARNING):
        assert store.get(KEY) is None
    assert str(file) in caplog.text
    assert "damaged" in caplog.text
    store.put(KEY, torch.ones(2, 3, 3))
    assert torch.equal(store.get(KEY), torch.ones(2, 3, 3).half())


def _fill(directory, number, kept):
    store = EmbeddingStore(directory)
    while True:
        store.put(f"{number:064x}", torch.full((64, 16, 16), float(number % 2048)))
        kept.send(number)
        number += 1


@pytest.mark.slow
def test_fifty_killed_writers_lose_nothing_they_had_acknowledged(tmp_path, caplog):
    """A writer tells a number once its encoding is kept; each is killed after a random while."""
    random, forked, acknowledged = np.random.default_rng(0), multiprocessing.get_context("fork"), -1
    for _ in range(50):
        told, kept = forked.Pipe(duplex=False)
        writer = forked.Process(target=_fill, args=(tmp_path, acknowledged + 1, kept))
        writer.start()
        assert told.poll(60)
        time.sleep(random.uniform(0, 0.02))
        writer.kill()
        writer.join()
        while told.poll():
            acknowledged = told.recv()
        kept.close()
    store = EmbeddingStore(tmp_path)
    for number in range(acknowledged + 1):
        assert torch.equal(store.get(f"{number:064x}"), torch.full((64, 16, 16), float(number % 2048)).half())
    assert acknowledged >= 49
    assert not caplog.records


@pytest.mark.parametrize("name", ["file/deep", "n" * 300])
def test_a_directory_that_cannot_be_written_is_warned_about_once(tmp_path, caplog, name):
    (tmp_path / "file").write_text("not a folder")
    blocked = tmp_path / name
    store = EmbeddingStore(blocked)
    with caplog.at_level(logging.WARNING):
        for key in (KEY, "cd" + "0" * 62):
            store.put(key, torch.ones(1, 1, 1))
            assert store.get(key) is None
    assert not store.writable
    (record,) = caplog.records
    assert str(blocked) in record.getMessage()
    assert "cache_dir" in record.getMessage()
    assert (tmp_path / "file").read_text() == "not a folder"


def test_writers_and_readers_of_one_key_never_meet_half_a_file(tmp_path, caplog):
    embedding = torch.arange(128 * 32 * 32).reshape(128, 32, 32) % 1000 / 8
    start, seen = threading.Barrier(8, timeout=60), []

    def write_and_read():
        store = EmbeddingStore(tmp_path)
        start.wait()
        for _ in range(5):
            store.put(KEY, embedding)
            seen.append(store.get(KEY))

    threads = [threading.Thread(target=write_and_read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
    assert all(found is not None and torch.equal(found.float(), embedding) for found in seen)
    assert not caplog.records
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    EmbeddingStore(tmp_path).put(KEY, torch.ones(1, 1, 1))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_environment_variable_names_the_default_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNSAM_CACHE", str(tmp_path / "mine"))
    assert default_cache_dir() == tmp_path / "mine"
    EmbeddingStore().put(KEY, torch.ones(1, 1, 1))
    assert _file(tmp_path / "mine").is_file()
    monkeypatch.delenv("ALIGNSAM_CACHE")
    assert default_cache_dir().name == "alignsam-gym"
    monkeypatch.setenv("ALIGNSAM_CACHE", "~/mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "mine"
