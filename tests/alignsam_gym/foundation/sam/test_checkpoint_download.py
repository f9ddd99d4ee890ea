import hashlib
import re
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam.checkpoint_download import download_checkpoint
from alignsam_gym.foundation.sam.official_checkpoints import Checkpoint

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several chunks


class Server(ThreadingHTTPServer):
    """Serves one file on loopback, well or badly.

    drops: bytes after which each of the first connections breaks off. requests: the offsets asked for.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.status, self.ranges, self.sized = CONTENT, None, True, True
        self.drops, self.requests = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/x.pth"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
        server.requests.append(start)
        if server.status:
            return self.send_error(server.status)
        if not server.ranges:
            start = 0
        if start >= len(server.content):
            return self.send_error(416)
        body = server.content[start:]
        self.send_response(206 if server.ranges else 200)
        if server.sized:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "not" / "yet" / "there"
    monkeypatch.setenv("ALIGNSAM_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def checkpoint(server, folder):
    return Checkpoint("vit_x", server.url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def partial(folder):
    folder.mkdir(parents=True)
    return folder / "x.pth.partial"


def assert_complete(folder):
    assert (folder / "x.pth").read_bytes() == CONTENT
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("sized", [True, False])
def test_a_download_is_the_servers_file(server, checkpoint, folder, ranges, sized):
    server.ranges, server.sized = ranges, sized
    assert download_checkpoint(checkpoint) == folder / "x.pth"
    assert_complete(folder)
    assert server.requests == [0]


def test_what_is_there_is_not_fetched_again(server, checkpoint):
    download_checkpoint(checkpoint)
    download_checkpoint(checkpoint)
    assert server.requests == [0]


def test_another_file_of_that_name_is_kept_and_reported(server, checkpoint, partial):
    checkpoint.path.write_bytes(b"somebody's own")
    with pytest.raises(WeightsError, match="not the official checkpoint"):
        download_checkpoint(checkpoint)
    assert checkpoint.path.read_bytes() == b"somebody's own"
    assert server.requests == []


def test_an_interrupted_download_goes_on(server, checkpoint, folder, partial):
    partial.write_bytes(CONTENT[:1_234_567])
    download_checkpoint(checkpoint)
    assert_complete(folder)
    assert server.requests == [1_234_567]


def test_a_server_without_ranges_starts_again(server, checkpoint, folder, partial):
    server.ranges = False
    partial.write_bytes(CONTENT[:1_234_567])
    download_checkpoint(checkpoint)
    assert_complete(folder)


def test_a_complete_download_that_never_got_its_name_gets_it(server, checkpoint, folder, partial):
    partial.write_bytes(CONTENT)
    download_checkpoint(checkpoint)
    assert_complete(folder)


def test_broken_connections_are_taken_up_where_they_broke(server, checkpoint, folder):
    server.drops = [1_000_000, 2_500_000]
    download_checkpoint(checkpoint)
    assert_complete(folder)
    assert server.requests == [0, 1_000_000, 3_500_000]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_never_comes_further_is_given_up(server, checkpoint, folder, ranges):
    server.ranges, server.drops = ranges, [700_000, *[0 if ranges else 700_000] * 9]
    with pytest.raises(WeightsError, match=r"closed too early\. 700,000 bytes .* goes on from there\. .*put it at"):
        download_checkpoint(checkpoint)
    assert len(server.requests) == 2
    assert [file.name for file in folder.iterdir() if file.suffix != ".lock"] == ["x.pth.partial"]
    server.drops = []
    download_checkpoint(checkpoint)
    assert_complete(folder)


def test_no_network_is_a_weights_error(server, checkpoint, folder):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError) as caught:
        download_checkpoint(checkpoint)
    assert re.search("cannot be fetched: .*refused", str(caught.value))
    assert f"fetch {checkpoint.url} by other means and put it at {folder / 'x.pth'}" in str(caught.value)


@pytest.mark.parametrize("status", [403, 404, 503])
def test_an_http_error_is_a_weights_error(server, checkpoint, folder, partial, status):
    server.status = status
    partial.write_bytes(CONTENT[:9])
    with pytest.raises(WeightsError, match=rf"x\.pth cannot be fetched: the server answers {status} .* put it at"):
        download_checkpoint(checkpoint)
    assert partial.exists()
    assert not checkpoint.path.exists()


@pytest.mark.parametrize("received", [b"", b"another file's beginning"])
def test_wrong_bytes_are_removed(server, checkpoint, folder, partial, received):
    server.content = CONTENT if received else CONTENT[:-1] + b"!"
    partial.write_bytes(received)
    with pytest.raises(WeightsError, match=r"is not the checkpoint, and was removed: its SHA-256 is .* Try again"):
        download_checkpoint(checkpoint)
    assert [file.name for file in folder.iterdir() if file.suffix != ".lock"] == []
    server.content = CONTENT
    download_checkpoint(checkpoint)
    assert_complete(folder)


def test_a_full_disk_keeps_what_came(server, checkpoint, folder, partial):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(WeightsError, match=r"x\.pth cannot be written: .+\. Make room"):
            download_checkpoint(checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 0 < partial.stat().st_size <= 2_000_000
    download_checkpoint(checkpoint)
    assert_complete(folder)
    assert server.requests[1] > 0


def test_a_folder_that_cannot_be_is_a_weights_error(checkpoint, folder):
    folder.parent.parent.mkdir()
    folder.parent.write_text("")
    with pytest.raises(WeightsError, match="ALIGNSAM_WEIGHTS name another folder"):
        download_checkpoint(checkpoint)


def test_of_several_threads_one_fetches(server, checkpoint, folder):
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(download_checkpoint, [checkpoint] * 4)) == {folder / "x.pth"}
    assert_complete(folder)
    assert server.requests == [0]


@pytest.mark.slow
def test_of_several_processes_one_fetches(server, checkpoint, folder):
    program = (
        "from alignsam_gym.foundation.sam.checkpoint_download import download_checkpoint\n"
        "from alignsam_gym.foundation.sam.official_checkpoints import Checkpoint\n"
        f"download_checkpoint({checkpoint!r})"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert_complete(folder)
    assert server.requests == [0]
