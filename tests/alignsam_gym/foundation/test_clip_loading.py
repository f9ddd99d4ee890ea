"""Where CLIP's weights come from, and which files and models are refused."""

import json
import os
import zipfile

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.foundation.clip_loading import load_clip
from alignsam_gym.foundation.clip_surgery import is_downloaded, load_open_clip
from alignsam_gym.foundation.sam.official_checkpoints import file_digest
from tests.alignsam_gym.foundation.clip_reference import (
    HEADS,
    NATIVE,
    PATCH,
    build_clip,
    frames,
    reference_tokens,
    shaken,
    unit,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """The name of a small ViT among open_clip's own."""
    path = tmp_path_factory.mktemp("configs") / "ViT-test.json"
    vision = {"image_size": NATIVE, "layers": 7, "width": 32, "head_width": 8, "patch_size": PATCH}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    return "ViT-test"


@pytest.fixture(scope="module")
def trained(architecture):
    torch.manual_seed(1)
    return shaken(open_clip.create_model(architecture))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_checkpoint_loads_from_its_path(architecture, trained, tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(trained.state_dict(), path)
    loaded = load_open_clip(f"{architecture}/{path}", CPU, 64)
    assert loaded.grid == 8
    assert file_digest(path) in loaded.fingerprint
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    assert loaded.similarity(frames(1, 64), ["dog"]).shape == (1, 8, 8)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"model": tensors, "epoch": 3},
        lambda tensors: {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
        lambda tensors: {f"model.clip.{name}": tensor for name, tensor in tensors.items()},
    ],
)
def test_what_a_training_script_saves_is_read(architecture, trained, tmp_path, wrap):
    torch.save(wrap(trained.state_dict()), tmp_path / "clip.pt")
    loaded = load_open_clip(f"{architecture}/{tmp_path}/clip.pt", CPU, 64).model.state_dict()
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded[name], value)


def test_weights_that_are_no_numbers_are_refused_by_name(architecture, trained, tmp_path):
    tensors = trained.state_dict() | {"visual.proj": torch.full_like(trained.visual.proj, torch.nan)}
    torch.save(tensors, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match=r"clip\.pt holds NaN or infinite weights, in visual\.proj"):
        load_clip(f"{architecture}/{tmp_path}/clip.pt", "cpu")


def test_loading_leaves_the_global_generator_as_it_was(architecture, trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "clip.pt")
    before = torch.get_rng_state()
    load_clip(f"{architecture}/{tmp_path}/clip.pt", "cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_path_may_be_relative(architecture, trained, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    torch.save(trained.state_dict(), tmp_path / "weights" / "clip.pt")
    monkeypatch.chdir(tmp_path)
    assert load_open_clip(f"{architecture}/weights/clip.pt", CPU, NATIVE).grid == 4


def test_a_tag_brings_its_activation_and_colours(architecture, trained, tmp_path, monkeypatch):
    path = tmp_path / "clip.pt"
    torch.save(trained.state_dict(), path)
    tag = {"file": str(path), "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, architecture, {"here": tag})
    loaded = load_open_clip(f"{architecture}/here", CPU, NATIVE)
    image = frames(1, NATIVE)[0]
    assert loaded.model.visual.image_mean == tag["mean"]
    expected = unit(reference_tokens(loaded.model, image, HEADS, quick_gelu=True))
    np.testing.assert_allclose(loaded.encode([image])[0].numpy(), expected, atol=1e-5)


def test_one_file_is_two_models_by_its_activation(architecture, trained, tmp_path, monkeypatch):
    path = tmp_path / "clip.pt"
    torch.save(trained.state_dict(), path)
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED, architecture, {"quick": {"file": str(path), "quick_gelu": True}}
    )
    names = (f"{architecture}/{path}", f"{architecture}/quick")
    assert len({load_open_clip(name, CPU, NATIVE).fingerprint for name in names}) == 2


def test_a_tag_that_cannot_be_fetched_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    address = "https://huggingface.co/timm/vit_base_patch16_clip_224.openai"
    with pytest.raises(WeightsError, match=rf"'ViT-B-16/openai'.*{address} .*give its path: clip=ViT-B-16-quickgelu/"):
        load_clip("ViT-B-16/openai", "cpu")
    with pytest.raises(
        WeightsError, match=r"clip=ViT-B-16/PATH \(a training's key is env\.clip=, an option of predict"
    ):
        load_clip("ViT-B-16/datacomp_xl_s13b_b90k", "cpu")


@pytest.mark.parametrize(
    ("places", "here"),
    [
        ([], False),
        (["snapshots/1/open_clip_model.safetensors"], True),
        (["snapshots/2/open_clip_model.safetensors"], False),
        (["snapshots/1/open_clip_config.json"], False),
        (["snapshots/1/open_clip_pytorch_model.bin"], False),  # open_clip would ask for the other one first
        (["snapshots/1/open_clip_pytorch_model.bin", ".no_exist/1/open_clip_model.safetensors"], True),
    ],
)
def test_what_need_not_be_downloaded_is_known(places, here, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for place in (*places, "refs/main"):
        file = tmp_path / "models--timm--vit_base_patch16_clip_224.openai" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    assert is_downloaded("ViT-B-16/openai") == here


def test_checkpoints_of_another_model_are_refused(architecture, tmp_path):
    torch.save(build_clip().state_dict(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=rf"other\.pt could not be loaded as {architecture}'s weights"):
        load_clip(f"{architecture}/{tmp_path / 'other.pt'}", "cpu")


def test_files_that_are_no_checkpoints_are_refused(architecture, tmp_path):
    (tmp_path / "noise.pt").write_bytes(b"not a checkpoint")
    (tmp_path / "noise.safetensors").write_bytes(b"not a checkpoint")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("noise.pt", "noise.safetensors", "list.pt"):
        with pytest.raises(WeightsError, match=r"state dict of that architecture"):
            load_clip(f"{architecture}/{tmp_path / name}", "cpu")


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file that looks like a TorchScript archive")
def test_torchscript_archives_are_refused_unread(architecture, tmp_path):
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for record in ("version", "data.pkl", "constants.pkl"):
            archive.writestr(f"script/{record}", b"3\n")
    with pytest.raises(WeightsError, match=r"weights_only=True.* with TorchScript archives"):
        load_clip(f"{architecture}/{tmp_path / 'script.pt'}", "cpu")


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_checkpoint_is_executed(architecture, tmp_path):
    torch.save({"state_dict": _Payload(tmp_path / "executed")}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError):
        load_clip(f"{architecture}/{tmp_path / 'clip.pt'}", "cpu")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["RN50/openai", "convnext_base/laion400m_s13b_b51k", "ViT-B-16-SigLIP/webli"])
def test_towers_that_are_no_vits_are_refused_before_anything_is_downloaded(name):
    with pytest.raises(OptionError, match=rf"{name}.*no open_clip ViT"):
        load_clip(name, "cpu")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ViT-Z/openai", "no model 'ViT-Z'.*ViT-B-16/openai"),
        ("ViT-B-16/nowhere.pt", r"'nowhere.pt' is neither a pretrained tag of ViT-B-16 \(openai, .*\) nor a file"),
        ("ViT-B-16", "'' is neither a pretrained tag"),
        ("ViT-S-16/x", "it has none"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, problem):
    with pytest.raises(OptionError, match=problem):
        load_clip(name, "cpu")
