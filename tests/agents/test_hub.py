"""The Hub is a stand-in on loopback: what huggingface_hub asks of the real one, over HTTP."""

import base64
import hashlib
import json
from functools import partial
from unittest.mock import Mock

import cv2
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

from alignsam_gym import AlignSAM
from alignsam_gym.agents.agent_config import AgentConfig
from alignsam_gym.agents.bundle import MEMBERS, export
from alignsam_gym.agents.hub import download_bundle, push
from alignsam_gym.agents.hub_card import make_card
from alignsam_gym.errors import DataError, OptionError, WeightsError
from tests.hub_stand_in import HubHandler, served_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def write_measured(run, foreground_rate, **extra):
    summary = {"images": 7, "miou_by_step": [0.5, 0.625], "foreground_rate": foreground_rate, "metrics": {}}
    metrics = {"seed": 3, "table": {}, "iou_by_image": {"agent": {}}, "prompting": {"agent": summary}, **extra}
    (run / "metrics.json").write_text(json.dumps(metrics))


class Hub(HubHandler):
    """One repository, me/agent; `files` maps its paths to their content."""

    files: dict[str, bytes]

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/me/agent/revision/"):
            self.answer({"id": "me/agent", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]})
        elif path.startswith("/api/models/me/agent/tree/"):
            self.answer([
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ])  # fmt: skip
        elif path.startswith("/me/agent/resolve/") and (name := path.rpartition("/")[2]) in self.files:
            content = self.files[name]
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self.send(200, headers, content)
        else:
            self.send(404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.answer({"url": f"{self.server.url}/me/agent", "name": "me/agent", "id": "1"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.path == "/api/models/me/agent/preupload/main":
            names = [file["path"] for file in json.loads(content)["files"]]
            answers = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self.answer({"files": answers})
        elif self.path.startswith("/api/models/me/agent/commit/main"):
            for entry in map(json.loads, content.splitlines()):
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            url = f"{self.server.url}/me/agent/commit/{COMMIT}"
            self.answer({"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:
            self.answer({}, 404)

    def answer(self, value, status=200):
        self.send(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The files of the repository that the stand-in serves."""
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with served_hub(type("Repository", (Hub,), {"files": {}}), tmp_path / "hub") as server:
        yield server.RequestHandlerClass.files


def test_an_agent_is_loaded_from_the_hub(hub, make_run, tmp_path):
    export(make_run(), tmp_path / "bundle")
    hub |= {name: (tmp_path / "bundle" / name).read_bytes() for name in MEMBERS}
    hub["evil.py"] = b"raise SystemExit"
    loaded = AlignSAM.from_pretrained("me/agent", batch_size=2)
    np.testing.assert_array_equal(
        loaded.predict(IMAGE).probability, AlignSAM.from_pretrained(tmp_path / "bundle").predict(IMAGE).probability
    )
    assert not list((tmp_path / "hub").rglob("evil.py"))


def test_what_was_pushed_is_loaded_again(hub, make_run):
    run = make_run()
    write_measured(run, 0.25)
    assert push(run, "me/agent").endswith("/me/agent")
    assert hub.keys() == {*MEMBERS, "README.md"}
    np.testing.assert_array_equal(
        AlignSAM.from_pretrained("me/agent").predict(IMAGE).mask, AlignSAM.from_pretrained(run).predict(IMAGE).mask
    )
    page = hub["README.md"].decode()
    assert "| agent | 7 | 1 | 0.500 | 0.625 | 25.0% |" in page
    assert 'AlignSAM.from_pretrained("me/agent")' in page
    assert huggingface_hub.ModelCard(page).data.library_name == "alignsam-gym"


def test_a_card_shows_photographs_and_says_what_its_maker_says(hub, make_run, tmp_path):
    run = make_run()
    write_measured(run, 0.25, measured_on="photos", labelled_images=50)
    agent = AlignSAM.from_pretrained(run)
    agent.push_to_hub("me/agent", images=[IMAGE, IMAGE[:, :30]], licence="cc-by-4.0", data="Of *my* garden.")
    page = hub["README.md"].decode()
    metadata = huggingface_hub.ModelCard(page).data
    assert (metadata.license, metadata.pipeline_tag, metadata.model_name) == (
        "cc-by-4.0",
        "image-segmentation",
        "agent",
    )
    [result] = metadata.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("photos", "mean_iou", 0.625)
    for text in ("50 labelled images, of toy.", "7 others, of photos.", "Of *my* garden.", "One seed, 3."):
        assert text in page
    assert "](samples.png)" in page
    picture = cv2.imdecode(np.frombuffer(hub["samples.png"], np.uint8), cv2.IMREAD_COLOR)
    assert min(picture.shape[:2]) > 200
    AlignSAM.from_pretrained("me/agent")  # the picture does no harm


def test_no_photograph_is_published_unasked(hub, make_run):
    run = make_run()
    cv2.imwrite(str(run / "filmstrip.png"), IMAGE)
    push(run, "me/agent")
    assert hub.keys() == {*MEMBERS, "README.md"}
    page = hub["README.md"].decode()
    assert "samples.png" not in page
    assert huggingface_hub.ModelCard(page).data.license is None
    assert "Its maker has not chosen one." in page


@pytest.mark.parametrize(
    ("env", "srm", "says"),
    [
        ({"sam": "tiny"}, {}, 'from_pretrained("me/agent")'),
        ({"sam": "vit_b"}, {}, "alignsam weights action=download names=vit_b"),
        ({"sam": "hf:me/sam"}, {}, 'from_pretrained("me/agent", sam="hf:me/sam")'),
        ({"sam": "sha256:12"}, {}, 'from_pretrained("me/agent", sam="<file of the checkpoint>")'),
        (
            {"sam": "tiny", "clip": "ViT-B-16/openai"},
            {"features": "both"},
            'from_pretrained("me/agent", clip="ViT-B-16/openai")',
        ),
        ({"clip": "ViT-B-16/sha256:12"}, {"features": "clip"}, 'from_pretrained("me/agent", clip="ViT-B-16/<file>")'),
        ({"branch": "explicit"}, {}, 'agent.predict("photo.jpg", text="what to look for")'),
    ],
)
def test_the_code_of_a_card_names_what_a_stranger_lacks(env, srm, says):
    card = make_card(AgentConfig(env, srm, {}, {}, "toy", None), "me/agent")
    assert says in card
    assert "names=hf:" not in card


@pytest.mark.parametrize(("content", "says"), [("{", "cannot be read"), ("[]", "holds no measurements")])
def test_measurements_that_cannot_be_read_are_an_error(hub, make_run, content, says):
    run = make_run()
    (run / "metrics.json").write_text(content)
    for pushed in (partial(push, run), AlignSAM.from_pretrained(run).push_to_hub):
        with pytest.raises(DataError, match=rf"metrics\.json {says}"):
            pushed("me/agent")
    assert not hub


def test_a_card_without_a_measured_strategy_says_so():
    card = make_card(AgentConfig({}, {}, {}, {}, "toy", None), "me/agent", {"prompting": {}, "labelled_images": 50})
    assert "50 labelled images, of toy.\nIts maker" in card
    assert "It has not been measured." in card


def test_a_loaded_agent_is_pushed_with_the_measurements_of_its_run(hub, make_run, tmp_path):
    run = make_run()
    AlignSAM.from_pretrained(run).push_to_hub("me/agent")
    assert "It has not been measured." in hub["README.md"].decode()
    write_measured(run, None)
    assert AlignSAM.from_pretrained(run).push_to_hub("me/agent", private=True).endswith("/me/agent")
    assert hub.keys() == {*MEMBERS, "README.md"}
    assert "| agent | 7 | 1 | 0.500 | 0.625 |  |" in hub["README.md"].decode()
    export(run, tmp_path / "bundle")
    assert hub["config.yaml"] == (tmp_path / "bundle/config.yaml").read_bytes()


@pytest.mark.parametrize("repo", ["me/another", "no such name"])
def test_what_is_not_there_is_an_error(hub, repo):
    with pytest.raises(WeightsError, match=f"{repo} cannot be had from the Hub"):
        download_bundle(repo)
    if "/" in repo:
        with pytest.raises(WeightsError, match=r"nor is there a folder or file of that name\."):
            AlignSAM.from_pretrained(repo)


def test_what_lies_here_goes_before_the_hub(hub, make_run, tmp_path, monkeypatch):
    export(make_run(), tmp_path / "me/agent")
    monkeypatch.chdir(tmp_path)
    assert AlignSAM.from_pretrained("me/agent").predict(IMAGE).mask.shape == (40, 60)


def test_nobody_on_the_hub_is_trusted_with_files(hub):
    with pytest.raises(OptionError, match="trust_local_weights is for runs of your own, not for the Hub's me/agent"):
        AlignSAM.from_pretrained("me/agent", trust_local_weights=True)


def test_a_revision_is_asked_for(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Mock(side_effect=OSError("asked")))
    with pytest.raises(WeightsError, match="asked"):
        AlignSAM.from_pretrained("me/agent", revision="v1")
    assert huggingface_hub.snapshot_download.call_args.kwargs["revision"] == "v1"


def test_a_hub_that_does_not_answer_is_an_error(hub, make_run, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(WeightsError, match="cannot be pushed"):
        push(make_run(), "me/agent")
