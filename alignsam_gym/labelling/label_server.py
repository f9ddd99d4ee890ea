"""Serving the labelling page, to this machine alone."""

from __future__ import annotations

import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alignsam_gym.errors import AlignSAMError, DataError, OptionError
from alignsam_gym.labelling.labelling_exports import export_labels, predict_rest
from alignsam_gym.labelling.labelling_project import LabellingProject
from alignsam_gym.labelling.labelling_session import LabellingSession
from alignsam_gym.labelling.saved_masks import MaskChangedError
from alignsam_gym.labelling.window_state import photograph_jpeg, project_state, window_state

HOST = "127.0.0.1"
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
"""What the browser may load: nothing from elsewhere."""

_FILES = {"/": "label.html", "/label.css": "label.css", "/label.js": "label.js"}
_WINDOWS = 50  # whose edits are in memory
_LOOK = 0.02  # seconds between looks whether the server has started

Body = Mapping[str, Any]


class Windows:
    """The sessions of the windows that are open, and what they ask for.

    Args:
        project: What they label.
    """

    def __init__(self, project: LabellingProject) -> None:
        self.project = project
        self._sessions: OrderedDict[str, LabellingSession] = OrderedDict()
        self._lock = threading.Lock()

    def session(self, name: str) -> LabellingSession:
        """Return the session of a window, a new one if the window is new."""
        with self._lock:
            session = self._sessions.setdefault(name, LabellingSession(self.project))
            self._sessions.move_to_end(name)
            while len(self._sessions) > _WINDOWS:
                self._sessions.popitem(last=False)
        return session

    def act(self, name: str, action: str, body: Body) -> LabellingSession:
        """Do what a window asks for.

        Args:
            name: The window's.
            action: One of `_EDITS`, or how to find the photograph to show: ``open``, ``move`` or ``next``.
            body: Its arguments.

        Raises:
            AlignSAMError: It cannot be done.
        """
        session = self.session(name)
        with session.lock:
            if action == "open":
                self._open(session, body["stem"])
            elif not session.stem:
                self._open(session, body.get("shown"))
                if "shown" in body:
                    raise OptionError("The page has been started anew. This is the mask as it was saved.")
            elif action == "move":
                others = self.project.others(session.stem)
                if others:
                    session.open(others[0 if body["by"] > 0 else -1])
            elif action == "next":
                session.accept()
                self._go_on(session)
            else:
                _EDITS[action](session, body)
            self._encode_ahead(session)
        return session

    def _open(self, session: LabellingSession, stem: str | None) -> None:
        """Show a photograph; the first if there is no such one, as in an old address.

        Raises:
            DataError: It cannot be read. A new window then shows the first that can be.
        """
        try:
            session.open(stem if stem in self.project.folder.photographs else self._first())
        except DataError:
            while not session.stem and self.project.others(""):
                with suppress(DataError):
                    session.open(self._first())
            raise

    def _first(self) -> str:
        """Return the first photograph without a mask, or else the first of all, that can be read as far as is known."""
        return self.project.next_stem("") or [*self.project.others(""), *self.project.folder.photographs][0]

    def _go_on(self, session: LabellingSession) -> None:
        with self._lock:
            taken = [other.stem for other in self._sessions.values() if other is not session]
        stem = self.project.next_stem(session.stem, taken) or self.project.next_stem(session.stem)
        if stem is None:
            raise OptionError(f"{self._end(session.stem)} Page Up and Page Down show them again.")
        session.open(stem)

    def _end(self, present: str) -> str:
        """Say that nothing is left to label."""
        rest = self.project.unlabelled()
        whose = "All other photographs" if present in rest else "All photographs"
        unreadable = len(set(rest) - {present})
        but = f" but {unreadable} that cannot be read" if unreadable else ""
        return f"{whose} have masks{but}."

    def _encode_ahead(self, session: LabellingSession) -> None:
        """Encode what is shown, and what will probably come next, before anybody clicks."""
        for stem in (session.stem, self.project.next_stem(session.stem)):
            if stem:
                self.project.encode_ahead(stem)


_EDITS: dict[str, Callable[[LabellingSession, Body], None]] = {
    "point": lambda session, body: session.add_point(body["at"][0], body["at"][1], body["positive"]),
    "box": lambda session, body: session.set_box(*body["corners"]),
    "paint": lambda session, body: session.paint(body["path"], body["radius"], body["adds"]),
    "object": lambda session, body: session.next_object(),
    "nothing": lambda session, body: session.nothing_here(),
    "unlabel": lambda session, body: session.unlabel(),
    "undo": lambda session, body: session.undo(),
    "keep": lambda session, body: session.keep_mine(),
}


def run_job(project: LabellingProject, name: str) -> str:
    """Do something with the whole folder: ``train``, ``resume``, ``stop``, ``predict`` or ``export``.

    Returns:
        What was done, in words.

    Raises:
        AlignSAMError: It cannot be done.
    """
    match name:
        case "train":
            project.training.start()
            return "The training has begun. Go on labelling."
        case "resume":
            project.training.resume()
            return "The training goes on."
        case "stop":
            project.training.stop()
            return "The training has been stopped."
        case "predict":
            return predict_rest(project)
        case "export":
            return export_labels(project)
    raise OptionError(f"There is no job {name}.")


def make_app(project: LabellingProject) -> Any:
    """Make the ASGI application of the page."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Route

    windows = Windows(project)

    def page(request: Request) -> Response:
        file = Path(__file__).with_name(_FILES[request.url.path])
        return FileResponse(file, headers={"content-security-policy": POLICY, "cache-control": "no-cache"})

    def photograph(request: Request) -> Response:
        stem = request.query_params.get("stem")
        if stem not in project.folder.photographs:
            return Response("There is no such photograph.", 404)
        return Response(photograph_jpeg(project.pixels(stem)), media_type="image/jpeg")

    def state(request: Request) -> Response:
        return JSONResponse(project_state(project))

    async def post(request: Request) -> Response:
        # A form on another site can be sent here, too; but browsers do not let it have this type.
        kind, _, _ = request.headers.get("content-type", "").partition(";")
        if kind.strip().lower() != "application/json":
            return Response("Send JSON.", 415)
        try:
            body = dict(await request.json())
        except (TypeError, ValueError) as error:
            return makes_no_sense(error)
        return await run_in_threadpool(answer, request.path_params, body)

    def answer(where: Body, body: Body) -> Response:
        window, action = where.get("window"), where["action"]
        try:
            if window is None:
                return JSONResponse({"told": run_job(project, action)})
            return JSONResponse({"window": window_state(windows.act(window, action, body))})
        except AlignSAMError as error:
            told: dict[str, Any] = {"error": str(error), "isChanged": isinstance(error, MaskChangedError)}
            if window is not None and windows.session(window).stem:
                told["window"] = window_state(windows.session(window))
            return JSONResponse(told, 409)
        except (LookupError, TypeError, ValueError) as error:
            return makes_no_sense(error)

    def makes_no_sense(error: Exception) -> Response:
        return JSONResponse({"error": f"The request makes no sense ({error!r}).", "isChanged": False}, 400)

    routes = [
        *(Route(path, page) for path in _FILES),
        Route("/photograph", photograph),
        Route("/state", state),
        Route("/windows/{window}/{action}", post, methods=["POST"]),
        Route("/jobs/{action}", post, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])])


@contextmanager
def served_labels(project: LabellingProject, port: int) -> Iterator[str]:
    """Serve the page for as long as the context, and give its address.

    Args:
        project: What is labelled. It is closed in the end.
        port: To serve at; 0 for any that is free.

    Raises:
        OptionError: The port cannot be used, or Starlette or Uvicorn is missing.
    """
    try:
        import uvicorn

        app = make_app(project)
    except ImportError as error:
        raise OptionError(f"The page needs {error.name}: pip install 'alignsam-gym[demo]'.") from error
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((HOST, port))
        except OSError as error:
            raise OptionError(f"Port {port} cannot be used ({error.strerror}); choose another --port.") from error
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=[[place]], name="server", daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(_LOOK)
        try:
            yield f"http://{HOST}:{place.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            project.close()
