import json
from types import MappingProxyType

import pytest
import torch

from alignsam_gym.foundation.sam.decode_calibration import calibrate_decoding, fastest_batch
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from tests.conftest import build_toy_sam


@pytest.fixture
def timed(toy_model, monkeypatch):
    """Makes a decode of a batch take as long as told, by a clock of its own."""

    def script(seconds, slowness=MappingProxyType({})):
        asked, now = [], [0.0]
        monkeypatch.setattr("alignsam_gym.foundation.sam.decode_calibration.time.perf_counter", lambda: now[0])

        def decode(self, image, rows, points, labels):
            assert len(image.tokens) == len(rows) == len(points) == self.decode_batch
            asked.append(len(rows))
            now[0] += seconds(len(rows)) * slowness.get(self.decode_type, 1.0)
            return torch.zeros(len(rows), *self.logits_shape)

        monkeypatch.setattr(BatchedSamPredictor, "decode", decode)
        return asked

    monkeypatch.setattr(toy_model, "decode_batch", 8)
    return script


def test_the_size_with_the_least_time_for_each_decode_wins(toy_model, timed):
    timed({1: 1.0, 2: 1.5, 4: 2.0, 8: 3.0, 16: 7.0, 32: 13.0, 64: 99.0}.__getitem__)
    assert fastest_batch(toy_model) == 8
    asked = timed(lambda size: size**1.5)
    assert fastest_batch(toy_model) == 1
    assert max(asked) == 2  # once it gets slower, larger sizes are left alone


def test_the_measurement_is_remembered(toy_model, timed, tmp_path):
    asked = timed(lambda size: 4.0 + size)
    calibrate_decoding(toy_model, tmp_path)
    assert toy_model.decode_batch == 64
    del asked[:]
    toy_model.decode_batch = 8
    calibrate_decoding(toy_model, tmp_path)
    assert toy_model.decode_batch == 64
    assert not asked


@pytest.mark.parametrize("content", ["", "{torn", "[]", "null", '{"a": "b"}'])
def test_a_torn_file_is_measured_again(toy_model, timed, tmp_path, content):
    (tmp_path / "calibration.json").write_text(content)
    timed(lambda size: 4.0 + size)
    calibrate_decoding(toy_model, tmp_path)
    assert toy_model.decode_batch == 64
    assert [64, "torch.float32"] in json.loads((tmp_path / "calibration.json").read_text()).values()


def test_a_folder_that_cannot_be_written_is_reported(toy_model, timed, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    timed(lambda size: 4.0 + size)
    calibrate_decoding(toy_model, tmp_path / "file")
    assert toy_model.decode_batch == 64
    assert "cannot be kept" in caplog.text


def test_a_real_measurement_ends_and_gives_a_size(toy_model):
    assert fastest_batch(toy_model) in (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize(("slowness", "faster"), [(0.5, torch.bfloat16), (2.0, torch.float32)])
def test_the_faster_precision_is_taken_where_it_is_to_be_chosen(timed, tmp_path, slowness, faster):
    model = BatchedSamPredictor(build_toy_sam(), "toy", torch.device("cpu"), decode_precision="auto")
    assert model.decode_type == torch.float32
    asked = timed(lambda size: 4.0 + size, {torch.bfloat16: slowness})
    calibrate_decoding(model, tmp_path)
    assert (model.decode_type, model.decode_batch) == (faster, 64)
    again = BatchedSamPredictor(build_toy_sam(), "toy", torch.device("cpu"), decode_precision="auto")
    del asked[:]
    calibrate_decoding(again, tmp_path)
    assert (again.decode_type, asked) == (faster, [])
