import pytest
import torch

from alignsam_gym.errors import OptionError
from alignsam_gym.foundation import devices
from alignsam_gym.foundation.devices import answers_as_cpu, resolve_device
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from tests.emulated_device import emulated_device


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch):
    """And without what an earlier test remembers."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    answers_as_cpu.cache_clear()


@pytest.fixture
def mps(monkeypatch):
    """A machine on which PyTorch says that there is MPS."""
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is MPS")
def test_auto_is_the_cpu_where_there_is_nothing_else(caplog):
    assert resolve_device("auto") == torch.device("cpu")
    assert not caplog.records


@pytest.mark.parametrize("name", ["toaster", "cuda:99"])
def test_what_cannot_be_used_is_an_option_error(name):
    with pytest.raises(OptionError, match=f"device='{name}' cannot be used here"):
        resolve_device(name)


def test_auto_takes_cuda_before_mps(mps, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(devices, "answers_as_cpu", pytest.fail)
    assert devices._best_device() == "cuda"


@pytest.mark.parametrize(("answer", "chosen"), [(True, "mps"), (False, "cpu")])
def test_auto_takes_mps_if_it_passes_its_check(mps, monkeypatch, answer, chosen):
    monkeypatch.setattr(devices, "answers_as_cpu", lambda device: answer and device.type == "mps")
    assert devices._best_device() == chosen


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is MPS")
def test_one_line_says_why_mps_is_left_out(mps, caplog):
    """Here no operation works on it at all."""
    assert resolve_device("auto") == resolve_device("auto") == torch.device("cpu")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("device=auto leaves mps out, as it fails its check (")
    assert "\n" not in caplog.messages[0]


def test_a_device_that_lacks_float64_alone_passes():
    with emulated_device() as device:
        assert answers_as_cpu(device)


def test_a_device_that_answers_otherwise_fails(monkeypatch, caplog):
    decode = BatchedSamPredictor.decode

    def off_on_the_device(model, *arguments):
        return decode(model, *arguments) + (0.0 if model.device.type == "cpu" else 0.5)

    monkeypatch.setattr(BatchedSamPredictor, "decode", off_on_the_device)
    with emulated_device() as device:
        assert not answers_as_cpu(device)
    assert "a logit differs from the CPU's by 0.5" in caplog.text


def test_a_device_that_answers_with_nan_fails(monkeypatch):
    encode = BatchedSamPredictor.encode

    def broken_on_the_device(model, images):
        return encode(model, images) * (1.0 if model.device.type == "cpu" else torch.nan)

    monkeypatch.setattr(BatchedSamPredictor, "encode", broken_on_the_device)
    with emulated_device() as device:
        assert not answers_as_cpu(device)


def test_the_check_leaves_the_global_draws_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert answers_as_cpu(torch.device("cpu"))
    assert torch.rand(1) == expected
