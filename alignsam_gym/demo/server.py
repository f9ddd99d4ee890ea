"""Serving the page, to this machine alone unless told otherwise, and without reaching for any other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alignsam_gym.demo.images import MOST_BYTES
from alignsam_gym.demo.pointers import Pointers
from alignsam_gym.errors import OptionError

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's own pages need both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "frame-ancestors 'none'",
    )
)
"""What browsers may load: nothing from elsewhere, whatever Gradio's pages ask for."""

_VISITS = 50  # whose images and masks are in memory
_FONTS = ["system-ui", "sans-serif"]  # Gradio's own would be fetched


class OwnSourcesOnly:
    """ASGI middleware that sends `POLICY` along."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_policy)


@contextmanager
def served(pointers: Pointers, host: str, port: int | None) -> Iterator[Any]:
    """The page, a ``gr.Blocks`` with its ``local_url``, served for as long as the context.

    port: None for any that is free, from 7860. Raises OptionError for a host or port that cannot be used, and where
    Gradio is missing.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio as gr
    except ImportError as error:
        raise OptionError("The demo needs Gradio: pip install 'alignsam-gym[demo]'.") from error
    from starlette.middleware import Middleware

    from alignsam_gym.demo.page import build_page

    blue = gr.themes.colors.blue
    theme = gr.themes.Default(
        primary_hue=blue, secondary_hue=blue, font=_FONTS, font_mono=["ui-monospace", "monospace"]
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # for uploads and the pictures shown
        page = build_page(pointers)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                share=False,
                ssr_mode=False,
                footer_links=[],
                max_file_size=MOST_BYTES,
                state_session_capacity=_VISITS,
                theme=theme.set(button_primary_background_fill="*primary_700", body_text_color_subdued="*neutral_600"),
                css_paths=[Path(__file__).with_name("page.css")],
                js=Path(__file__).with_name("folders.js").read_text("utf-8"),
                app_kwargs={"middleware": [Middleware(OwnSourcesOnly)]},
                prevent_thread_lock=True,
                quiet=True,
            )
        except (OSError, ValueError) as error:
            raise OptionError(f"{host}:{port} cannot be served ({error}); choose another --port or --host.") from error
        try:
            yield page
        finally:
            page.close(verbose=False)
