"""What the tests' stand-ins for the Hugging Face Hub share: a server on loopback that huggingface_hub asks."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants


class HubHandler(BaseHTTPRequestHandler):
    """Answers quietly, and a HEAD without the content."""

    def do_HEAD(self):
        self.do_GET()

    def send(self, status, headers, content=b""):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@contextmanager
def served_hub(handler, cache):
    """Serve a repository for as long as the context, and have huggingface_hub ask this server, with its own cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.url = f"http://127.0.0.1:{server.server_port}"
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", server.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield server
    server.shutdown()
    thread.join()
    server.server_close()
