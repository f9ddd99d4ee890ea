"""Bundles from strangers: what they may hold, and what happens if they hold anything else."""

import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
import yaml

from alignsam_gym import AlignSAM
from alignsam_gym.agents.bundle import MEMBERS, export
from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.errors import AlignSAMError, OptionError, WeightsError

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


class Evil:
    """Unpickling makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


@pytest.fixture
def bundle(make_run, tmp_path):
    """The folder of a bundle."""
    export(make_run(), tmp_path / "bundle")
    return tmp_path / "bundle"


def change(folder, **groups):
    """Change some keys of a bundle's configuration, by group."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for group, values in groups.items():
        config[group] = config[group] | values if isinstance(values, dict) else values
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def pack(folder, file, **options):
    with zipfile.ZipFile(file, "w", **options) as archive:
        for member in folder.iterdir():
            archive.write(member, member.name)
    return file


def test_run_folder_and_file_predict_alike(make_run, tmp_path):
    run = make_run()
    export(run, tmp_path / "folder")
    export(run, tmp_path / "one.alignsam")
    expected = AlignSAM.from_pretrained(run).predict(IMAGE)
    for place in ("folder", "one.alignsam"):
        answer = AlignSAM.from_pretrained(tmp_path / place).predict(IMAGE)
        np.testing.assert_array_equal(answer.probability, expected.probability)
        np.testing.assert_array_equal(answer.points, expected.points)
    assert sorted(file.name for file in (tmp_path / "folder").iterdir()) == sorted(MEMBERS)


def test_an_agent_without_a_clip_goes_without_one(make_run, toy_dataset, tmp_path, caplog):
    run = make_run(features="both", clip=None)
    assert "srm.features=both needs a CLIP, and there is none" in caplog.text
    file = tmp_path / "agent.alignsam"
    export(run, file)
    for source in (run, file):
        assert AlignSAM.from_pretrained(source, trust_local_weights=True).features is None
    env, _ = load_run(run, load_config(run), toy_dataset)
    assert env.episode.encoded.features is None


def test_a_bundle_can_be_exported_again_and_is_the_same(bundle, tmp_path):
    export(bundle, tmp_path / "a.alignsam")
    export(bundle, tmp_path / "b.alignsam")
    export(tmp_path / "a.alignsam", tmp_path / "c.alignsam")
    export(bundle, tmp_path / "d.alignsam")
    assert len({(tmp_path / f"{name}.alignsam").read_bytes() for name in "abcd"}) == 1


def test_a_run_is_not_written_over_by_its_bundle(make_run):
    run = make_run()
    before = (run / "config.yaml").read_text()
    with pytest.raises(WeightsError, match="is the run itself"):
        export(run, run.parent / "." / run.name)
    assert (run / "config.yaml").read_text() == before


def test_another_run_is_not_written_over(make_run, bundle, tmp_path):
    other = make_run("other")
    (other / "metrics.json").touch()
    before = (other / "policy.safetensors").read_bytes()
    with pytest.raises(WeightsError, match=r"other seems to be another run.* it has metrics\.json\. Name another"):
        export(bundle, other)
    assert (other / "policy.safetensors").read_bytes() == before
    export(bundle, bundle.parent / "again")
    export(bundle, bundle.parent / "again")


def test_a_bundle_tells_nothing_of_where_it_was_made(make_run, tmp_path):
    run = make_run()
    change(run, dataset={"root": "/home/me/secret"}, cache_dir="/home/me/cache")
    export(run, tmp_path / "bundle")
    assert "/home/me" not in (tmp_path / "bundle/config.yaml").read_text()


def test_own_weights_are_named_by_their_digest_and_checked(make_run, tmp_path, monkeypatch):
    (tmp_path / "own.pth").write_bytes(b"weights")
    (tmp_path / "other.pth").write_bytes(b"others")
    run = make_run()
    change(run, env={"sam": str(tmp_path / "own.pth")})
    AlignSAM.from_pretrained(run, trust_local_weights=True)
    with pytest.raises(WeightsError, match=r"own\.pth: give its file, sam="):
        AlignSAM.from_pretrained(run)
    export(run, tmp_path / "b.alignsam")
    with pytest.raises(WeightsError, match=r"sha256:[0-9a-f]{64}: give its file, sam=<path>"):
        AlignSAM.from_pretrained(tmp_path / "b.alignsam")
    with pytest.raises(WeightsError, match="is not the model that this agent was trained with"):
        AlignSAM.from_pretrained(tmp_path / "b.alignsam", sam=str(tmp_path / "other.pth"))
    AlignSAM.from_pretrained(tmp_path / "b.alignsam", sam=str(tmp_path / "own.pth"))


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("packed", [False, True])
def test_no_pickle_is_run(bundle, tmp_path, name, packed):
    for dump in (pickle.dumps, lambda thing: _saved(thing, tmp_path)):
        (bundle / name).write_bytes(dump(Evil(tmp_path / "ran")))
        place = pack(bundle, tmp_path / "evil.alignsam") if packed else bundle
        with pytest.raises(AlignSAMError):
            AlignSAM.from_pretrained(place)
        assert not (tmp_path / "ran").exists()


def _saved(thing, folder):
    torch.save(thing, folder / "saved.pt")
    return (folder / "saved.pt").read_bytes()


@pytest.mark.parametrize("as_torch", [False, True])
def test_a_pickle_instead_of_the_file_is_not_run(tmp_path, as_torch):
    evil = Evil(tmp_path / "ran")
    (tmp_path / "evil.alignsam").write_bytes(_saved(evil, tmp_path) if as_torch else pickle.dumps(evil))
    with pytest.raises(WeightsError, match="no bundle"):
        AlignSAM.from_pretrained(tmp_path / "evil.alignsam")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_beside_the_bundle_is_not_opened(bundle, tmp_path):
    (bundle / "checkpoint.pt").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    AlignSAM.from_pretrained(bundle)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"env": {"sam": "/etc/passwd"}}, "give its file, sam="),
        ({"env": {"sam": "../secret.pth"}}, "give its file, sam="),
        ({"env": {"branch": "explicit", "clip": "ViT-B-16//etc/passwd"}}, "give its file, clip="),
        ({"env": {"branch": "explicit", "clip": "hf-hub:evil/repo"}}, "give its file, clip="),
        ({"env": {"branch": "explicit", "clip": "local-dir:/etc"}}, "give its file, clip="),
        ({"env": {"sam": "${oc.env:HOME}"}}, "interpolations"),
        ({"dataset": {"text": "${oc.env:HOME}"}}, "interpolations"),
        ({"elsewhere": ["${oc.env:HOME}"]}, "interpolations"),
        ({"env": {"_target_": "os.system"}}, "env._target_ is unknown"),
        ({"env": {"image_size": 10**9}}, "env.image_size=1000000000 is not a number up to 4096"),
        ({"env": {"patch_size": 1, "image_size": 4096}}, "more than 64 patches a side"),
        ({"env": {"max_steps": True}}, "env.max_steps=True"),
        ({"env": {"stop": "yes"}}, "env.stop='yes': it must be true or false"),
        ({"env": {"state": ["product"]}}, "env.state=.* is unknown"),
        ({"env": {"state": "product; rm"}}, "state='product; rm' is unknown"),
        ({"srm": {"width": 10**9}}, "srm.width"),
        ({"srm": {"layers": 3}}, "srm.layers is unknown here"),
        ({"agent": {"algorithm": "os.system"}}, "agent.algorithm"),
        ({"agent": {"policy_kwargs": {"lstm_hidden_size": 10**9}}}, "agent.policy_kwargs"),
        ({"agent": {"n_steps": 10**13}}, "agent.n_steps=10000000000000 is not a whole number from 1 to 100000"),
        ({"agent": {"buffer_size": 10**13}}, "agent.buffer_size=10000000000000 is not"),
        ({"policy": {"width": 10**9}}, "policy.width"),
        ({"policy": {"width": 1024}, "env": {"image_size": 4096, "patch_size": 64}}, "64 patches a side make more"),
        ({"agent": {"policy_kwargs": {"n_lstm_layers": 1024}}}, "n_lstm_layers=1024 is not a number up to 16"),
        ({"policy": {"network": "os.system"}}, "policy.network"),
        ({"policy": {"network": {"_target_": "os.system"}}}, "policy.network"),
        ({"policy": {"init": [[1]]}}, "policy.init"),
        ({"policy": {"an_older_option": 1}}, "policy.an_older_option is unknown here .* another version"),
        ({"dataset": {"text": 5}}, "text=5 is not a text"),
        ({"srm": {"clip_logit_weight": "much"}}, "srm.clip_logit_weight='much': it must be a number"),
        ({"srm": {"clip_logit_weight": float("nan")}}, "srm.clip_logit_weight=nan"),
        ({"env": 3}, "no group 'env'"),
    ],
)
def test_a_strangers_configuration_is_refused(bundle, changes, says, monkeypatch):
    change(bundle, **changes)
    with pytest.raises(AlignSAMError, match=says):
        AlignSAM.from_pretrained(bundle)


def test_a_bundle_cannot_have_a_sam_downloaded(bundle, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: pytest.fail("a download was asked for"))
    change(bundle, env={"sam": "hf:me/sam"})
    with pytest.raises(WeightsError, match="is not here: give sam=hf:me/sam to have it downloaded"):
        AlignSAM.from_pretrained(bundle)
    change(bundle, env={"sam": "hf:../sam"})
    with pytest.raises(WeightsError, match=r"hf:\.\./sam: give its file"):
        AlignSAM.from_pretrained(bundle)


def test_a_folder_of_transformers_is_named_by_its_digest_and_checked(make_run, tmp_path):
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    run = make_run()
    change(run, env={"sam": f"hf:{tmp_path / 'own'}"})
    export(run, tmp_path / "bundle")
    assert str(tmp_path) not in (tmp_path / "bundle/config.yaml").read_text()
    AlignSAM.from_pretrained(tmp_path / "bundle", sam=f"hf:{tmp_path / 'own'}")
    with pytest.raises(WeightsError, match="is not the model that this agent was trained with"):
        AlignSAM.from_pretrained(tmp_path / "bundle", sam=f"hf:{tmp_path / 'other'}")


def test_a_repository_of_the_hub_keeps_its_name_in_a_bundle(make_run, tmp_path):
    run = make_run()
    change(run, env={"sam": "hf:me/sam"})
    export(run, tmp_path / "bundle")
    AlignSAM.from_pretrained(tmp_path / "bundle", sam="hf:me/sam")
    assert "sam: hf:me/sam" in (tmp_path / "bundle/config.yaml").read_text()


def test_a_bundle_cannot_have_a_clip_downloaded(bundle, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("open_clip.download_pretrained", lambda *_: pytest.fail("a download was asked for"))
    change(bundle, env={"branch": "explicit", "clip": "ViT-B-16/openai"})
    with pytest.raises(WeightsError, match="is not here: give clip=ViT-B-16/openai to have it downloaded"):
        AlignSAM.from_pretrained(bundle)


def test_a_clip_that_nothing_asks_for_is_not_needed(bundle):
    change(bundle, env={"clip": "ViT-B-16//etc/passwd"})
    assert AlignSAM.from_pretrained(bundle).clip is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no group"),
        ("- a list", "it is a list"),
        ("{", "no configuration"),
        ("env: !!python/object/apply:os.mkdir [ran]", "tags or references"),
        ("a: &a [1, 1]\nb: [*a, *a]", "tags or references"),
        ("[" * 2_000, "no configuration"),
        ("a: " + "x" * 70_000, "more than 16384 bytes"),
        ('env: {sam: "\\x24{oc.env:HOME}"}', "interpolations"),
        ("\0", "no configuration"),
    ],
)
def test_what_is_no_configuration_is_refused(bundle, text, says, tmp_path):
    (bundle / "config.yaml").write_text(text)
    for read in (AlignSAM.from_pretrained, load_config):
        with pytest.raises(WeightsError, match=says):
            read(bundle)


@pytest.mark.parametrize("name", MEMBERS)
def test_missing_and_torn_files_are_errors(bundle, tmp_path, name):
    whole = (bundle / name).read_bytes()
    for part in (b"", whole[: len(whole) // 2], whole[:-1] if name != "config.yaml" else b"\xff\xfe", None):
        if part is None:
            (bundle / name).unlink()
        else:
            (bundle / name).write_bytes(part)
        with pytest.raises(WeightsError, match=name):
            AlignSAM.from_pretrained(bundle)


def test_a_torn_file_is_an_error(bundle, tmp_path):
    whole = pack(bundle, tmp_path / "whole.alignsam").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "torn.alignsam").write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"torn\.alignsam is no bundle"):
            AlignSAM.from_pretrained(tmp_path / "torn.alignsam")
    listed = whole.index(b"PK\x01\x02")
    for bits in ({len(whole) // 2: 1}, {listed + 9: 8, listed + 46: 0x80}):  # the second: a name that is not its UTF-8
        flipped = bytearray(whole)
        for place, bit in bits.items():
            flipped[place] ^= bit
        (tmp_path / "torn.alignsam").write_bytes(flipped)
        with pytest.raises(WeightsError, match="or is torn"):
            AlignSAM.from_pretrained(tmp_path / "torn.alignsam")


def test_members_that_could_land_elsewhere_or_swell_are_refused(bundle, tmp_path):
    with pytest.raises(WeightsError, match="not compressed"):
        AlignSAM.from_pretrained(pack(bundle, tmp_path / "bomb.alignsam", compression=zipfile.ZIP_DEFLATED))
    pack(bundle, tmp_path / "more.alignsam")
    with zipfile.ZipFile(tmp_path / "more.alignsam", "a") as archive:
        archive.writestr("../../escaped", "")
    with pytest.raises(WeightsError, match="and nothing else"):
        AlignSAM.from_pretrained(tmp_path / "more.alignsam")
    assert not (tmp_path.parent.parent / "escaped").exists()


def test_weights_of_another_shape_are_an_error(bundle):
    change(bundle, srm={"width": 16})
    with pytest.raises(WeightsError, match=r"srm\.safetensors"):
        AlignSAM.from_pretrained(bundle)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.onnx", r"into a folder, with --onnx: alignsam export RUN .*x --onnx"),
        ("x.zip", r"Stable-Baselines3's, with --sb3; a bundle is called .*x\.alignsam"),
        ("x.pt", r"a bundle is a file .*x\.alignsam, or a folder whose name has no suffix"),
    ],
)
def test_a_bundle_is_no_other_kind_of_file(make_run, tmp_path, name, says):
    with pytest.raises(OptionError, match=says):
        export(make_run(), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_an_unfinished_run_and_an_unwritable_place_are_errors(make_run, tmp_path):
    run = make_run()
    (tmp_path / "file").touch()
    for target in ("file/out.alignsam", "file/folder"):
        with pytest.raises(WeightsError, match="cannot be written"):
            export(run, tmp_path / target)
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished/policy.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has its training finished\? If not, .*train resume=.*unfinished\."):
        export(tmp_path / "unfinished", tmp_path / "out")
