"""The Hub is a stand-in on loopback."""

import hashlib
import json

import pytest
import torch
from huggingface_hub import constants

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam.hf_checkpoints import is_cached, is_repository
from alignsam_gym.foundation.sam.predictor import load_sam
from tests.hub_stand_in import HubHandler, served_hub


class Hub(HubHandler):
    """One repository, me/sam; `files` maps its paths to their content, and `refusal` is an error for all of them."""

    files: dict[str, bytes]
    asked: list[str]
    refusal: tuple[int, str] | None = None

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        if not self.path.startswith("/me/sam/resolve/main/"):
            return self.send(404, {"X-Error-Code": "RepoNotFound"})
        self.asked.append(f"{self.command} {name}")
        if self.refusal:
            status, code = self.refusal
            self.send(status, {"X-Error-Code": code})
        elif name not in self.files:
            self.send(404, {"X-Error-Code": "EntryNotFound"})
        else:
            content = self.files[name]
            self.send(200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": "0" * 40}, content)


@pytest.fixture
def hub(tmp_path):
    with served_hub(type("Repository", (Hub,), {"files": {}, "asked": []}), tmp_path / "hub") as server:
        yield server.RequestHandlerClass


@pytest.fixture
def served(hub, saved_sam):
    """The same, with a SAM in the repository."""
    for name in ("config.json", "model.safetensors"):
        hub.files[name] = (saved_sam / name).read_bytes()
    return hub


def test_a_repository_is_downloaded_once(served, saved_sam):
    served.files["pytorch_model.bin"] = b"pickle"
    assert not is_cached("hf:me/sam")
    first, expected = load_sam("hf:me/sam", "cpu"), load_sam(f"hf:{saved_sam}", "cpu")
    assert first.fingerprint == expected.fingerprint
    assert all(torch.equal(tensor, expected.sam.state_dict()[name]) for name, tensor in first.sam.state_dict().items())
    assert [line for line in served.asked if "GET" in line] == ["GET config.json", "GET model.safetensors"]
    served.asked.clear()
    assert is_cached("hf:me/sam")
    assert load_sam("hf:me/sam", "cpu").fingerprint == first.fingerprint
    assert served.asked == []


def test_of_another_model_only_the_configuration_is_downloaded(served):
    served.files["config.json"] = json.dumps({"model_type": "llama"}).encode()
    with pytest.raises(WeightsError, match="model_type is 'llama'"):
        load_sam("hf:me/sam", "cpu")
    assert not any("model.safetensors" in line for line in served.asked)


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ((403, "GatedRepo"), r"must accept their licence\. Do so at https://huggingface\.co/me/sam, .*hf auth login"),
        ((404, "RepoNotFound"), r"no folder me/sam, and the Hub has no such repository, or a private one"),
        ((400, ""), r"could not be downloaded .*hf download me/sam --local-dir FOLDER"),
    ],
)
def test_a_refusal_says_what_to_do(served, refusal, says):
    served.refusal = refusal
    with pytest.raises(WeightsError, match=says):
        load_sam("hf:me/sam", "cpu")


def test_pickled_weights_are_not_read(served, saved_sam, tmp_path):
    (tmp_path / "config.json").write_bytes(served.files["config.json"])
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    del served.files["model.safetensors"]
    for name in ("hf:me/sam", f"hf:{tmp_path}"):
        with pytest.raises(WeightsError, match=r"there is no model\.safetensors.* Pickled weights .* are not read"):
            load_sam(name, "cpu")


def test_no_network_says_what_to_do(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"is not in the Hub's cache .*hf download me/sam"):
        load_sam("hf:me/sam", "cpu")
    assert hub.asked == []


def test_a_folder_goes_before_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_repository("hf:me/sam")
    (tmp_path / "me/sam").mkdir(parents=True)
    assert not is_repository("hf:me/sam")
    with pytest.raises(WeightsError, match=r"sam='hf:me/sam': there is no config\.json"):
        load_sam("hf:me/sam", "cpu")


@pytest.mark.parametrize("name", ["hf:", "hf:sam", "hf:/nowhere/sam", "hf:a/b/c"])
def test_what_is_neither_is_a_weights_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_repository(name)
    with pytest.raises(WeightsError, match="there is no "):
        load_sam(name, "cpu")
