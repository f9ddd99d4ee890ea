import builtins
import socket
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from alignsam_gym.errors import OptionError
from alignsam_gym.labelling.label_server import make_app, served_labels
from tests.alignsam_gym.labelling.conftest import SIZE

pytest.importorskip("starlette", reason="the extra demo is not installed")


@pytest.fixture
def client(project):
    from starlette.testclient import TestClient

    return TestClient(make_app(project), base_url="http://127.0.0.1")


def ask(client, action, window="one", status=200, **body):
    answer = client.post(f"/windows/{window}/{action}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("label.css", "label.js"):
        assert f"/{name}" in page.text
        assert client.get(f"/{name}").status_code == 200
    assert "//" not in page.text.replace("<!doctype html>", "")
    assert client.get("/label_server.py").status_code == 404


def test_a_photograph_is_opened_clicked_and_left(client, project):
    window = ask(client, "open", stem=None)["window"]
    assert (window["stem"], window["number"], window["width"], window["height"]) == ("a", 1, 60, 40)
    window = ask(client, "paint", path=[[30, 20]], radius=5, adds=True)["window"]
    assert window["sentence"].startswith("Saved: the mask covers")
    assert window["mask"].startswith("data:image/png;base64,")
    assert project.masks.read("a", SIZE)[20, 30]
    assert ask(client, "next")["window"]["stem"] == "b"
    assert ask(client, "move", by=-1)["window"]["stem"] == "a"
    assert ask(client, "move", by=-1)["window"]["stem"] == "f"


def test_two_windows_get_different_photographs(client):
    ask(client, "open", stem=None)
    ask(client, "open", window="two", stem="c")
    assert ask(client, "next", window="two")["window"]["stem"] == "d"
    ask(client, "open", window="two", stem="b")
    assert ask(client, "next")["window"]["stem"] == "c"


def test_the_page_is_told_of_a_mask_that_changed(client, project):
    for window in ("one", "two"):
        ask(client, "open", window, stem="a")
    ask(client, "paint", "one", path=[[10, 10]], radius=3, adds=True)
    told = ask(client, "paint", "two", 409, path=[[40, 20]], radius=3, adds=True)
    assert told["isChanged"]
    assert told["window"]["edits"] == 1
    ask(client, "keep", "two")
    mask = project.masks.read("a", SIZE)
    assert mask[20, 40]
    assert not mask[10, 10]


def test_a_window_goes_on_after_the_server_was_started_anew(client):
    told = ask(client, "undo", status=409, shown="c")
    assert told["window"]["stem"] == "c"
    assert "started anew" in told["error"]
    ask(client, "nothing")


@pytest.mark.parametrize("stem", [None, "a"])
def test_a_first_photograph_that_cannot_be_read_is_told_and_the_next_is_shown(client, photos, stem):
    for name in "ab":
        (photos / f"images/{name}.png").write_bytes(b"no photograph")
    told = ask(client, "open", status=409, stem=stem)
    assert "a.png cannot be read" in told["error"]
    assert told["window"]["stem"] == "c"
    ask(client, "nothing")


def test_a_folder_of_which_nothing_can_be_read_is_told(client, photos):
    for file in (photos / "images").rglob("*.png"):
        file.write_bytes(b"no photograph")
    for action in ("open", "next"):
        told = ask(client, action, status=409, stem=None)
        assert "a.png cannot be read" in told["error"]
        assert "window" not in told


def test_an_old_address_shows_the_first_photograph(client):
    assert ask(client, "open", stem="moved away")["window"]["stem"] == "a"
    assert ask(client, "undo", "two")["window"]["stem"] == "a"  # of a window that has shown nothing yet
    assert ask(client, "undo", "three", 409, shown="moved away")["window"]["stem"] == "a"


def test_the_end_is_told(client, project):
    ask(client, "open", stem="a")
    for _ in range(5):
        ask(client, "nothing")
        ask(client, "next")
    assert "All other photographs have masks." in ask(client, "next", status=409)["error"]
    ask(client, "nothing")
    assert "All photographs have masks." in ask(client, "next", status=409)["error"]


def test_a_window_that_is_gone_keeps_no_photograph_from_the_others(client):
    for number, stem in enumerate("bcd"):
        ask(client, "open", str(number), stem=stem)
    shown = [ask(client, "open", stem="a")["window"]["stem"]]
    for _ in range(5):
        ask(client, "nothing")
        shown.append(ask(client, "next")["window"]["stem"])
    assert shown == ["a", "deep/e", "f", "b", "c", "d"]  # those that others show, last


def test_the_end_tells_of_photographs_that_cannot_be_read(client, photos):
    ask(client, "open", stem="a")
    (photos / "images/f.png").write_bytes(b"no photograph")
    for _ in range(4):
        ask(client, "nothing")
        ask(client, "next")
    ask(client, "nothing")
    assert "f.png cannot be read" in ask(client, "next", status=409)["error"]
    assert "All photographs have masks but 1 that cannot be read." in ask(client, "next", status=409)["error"]


@pytest.mark.parametrize(("action", "body"), [("fly", {}), ("point", {}), ("point", {"at": "x", "positive": True})])
def test_a_request_that_makes_no_sense_is_refused(client, action, body):
    ask(client, "open", stem="a")
    assert "makes no sense" in ask(client, action, status=400, **body)["error"]


def test_what_is_sent_is_json_in_utf_8(client):
    headers = {"content-type": "application/json; charset=utf-8"}
    assert client.post("/windows/one/open", content='{"stem": "c"}', headers=headers).json()["window"]["stem"] == "c"
    for content in (b"", b'{"stem"', b"[1]", b'"\xff"'):
        answer = client.post("/windows/two/undo", content=content, headers=headers)
        assert answer.status_code == 400
        assert "makes no sense" in answer.json()["error"]


def test_jobs_say_what_they_did_or_why_not(client):
    assert "Label 5 photographs first" in client.post("/jobs/train", json={}).json()["error"]
    assert client.post("/jobs/predict", json={}).status_code == 409
    assert "Masks are in" in client.post("/jobs/export", json={}).json()["told"]
    assert client.post("/jobs/stop", json={}).json()["told"]
    assert client.get("/state").json()["count"] == 6


def test_other_sites_can_neither_write_nor_read(client):
    form = client.post("/windows/one/open", content='{"stem": null}', headers={"content-type": "text/plain"})
    assert form.status_code == 415
    assert client.get("/state", headers={"host": "elsewhere.example"}).status_code == 400


def test_photographs_are_sent_as_they_are_shown(client):
    answer = client.get(f"/photograph?stem={quote('deep/e')}")
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1).shape == (*SIZE, 3)
    assert client.get("/photograph?stem=../../etc/passwd").status_code == 404


def test_a_large_photograph_is_sent_smaller(photos, make_project):
    from starlette.testclient import TestClient

    cv2.imwrite(str(photos / "images/large name.png"), np.zeros((100, 3000, 3), np.uint8))
    client = TestClient(make_app(make_project(photos)), base_url="http://127.0.0.1")
    answer = client.get(f"/photograph?stem={quote('large name')}")
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1).shape == (68, 2048, 3)


def test_a_port_in_use_and_a_missing_package_are_told(project, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OptionError, match="choose another --port"), served_labels(project, taken.getsockname()[1]):
            pass
    find = builtins.__import__

    def without(name, *arguments):
        if name == "uvicorn":
            raise ImportError(name="uvicorn")
        return find(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    told = r"needs uvicorn: pip install 'alignsam-gym\[demo\]'"
    with pytest.raises(OptionError, match=told), served_labels(project, 0):
        pass
