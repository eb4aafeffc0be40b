"""The page, served to this computer alone: by its own address, with nothing asked from elsewhere, nothing kept."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from pathlib import Path
from threading import Event
from typing import Any

from lvcf.app.jobs import Finish
from lvcf.errors import UserError

HOST = "127.0.0.1"
PORTS = range(7860, 7960)
"""Tried one after another where none is named."""
LARGEST = "1gb"
"""Of an uploaded file: a model may be one."""
ONLY_FROM_HERE = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy: a browser that obeys it asks no other host, whatever the page says."""


def serve(port: int | None, finish: Finish) -> int:
    """Serve until Ctrl-C or SIGTERM, print the address; returns the exit code.

    Args:
        port: 0 for any that is free, None for the first free of :data:`PORTS`.
        finish: adds the report to a run's folder.

    Raises:
        UserError: Gradio is not installed, or the port is taken.
    """
    port = free_port(port)
    _settle()
    try:
        from lvcf.app.page import THEME, Page, build
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError("lvcf app needs Gradio, which is an extra: pip install 'lvcf[app]'") from error

    over = Event()
    signal.signal(signal.SIGTERM, lambda number, frame: over.set())
    with tempfile.TemporaryDirectory(prefix="lvcf_app_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
        page = Page(Path(folder), finish)
        blocks = build(page)
        blocks.queue(default_concurrency_limit=1, max_size=32, api_open=False)
        blocks.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            quiet=True,
            inbrowser=False,
            prevent_thread_lock=True,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            allowed_paths=[],
            max_file_size=LARGEST,
            footer_links=[],
            theme=THEME,
            css_paths=Path(__file__).with_name("templates") / "app.css",
            app_kwargs={"middleware": [(OnlyHere, (), {})]},  # class and arguments, as Starlette unpacks them
        )
        print(f"lvcf app: open http://{HOST}:{port} in a browser; Ctrl-C ends it, and deletes all it holds", flush=True)
        try:
            over.wait()
        except KeyboardInterrupt:
            over.set()
        page.worker.stop()  # else its thread keeps the program until the clip is done
        blocks.close(verbose=False)
    return 0


def free_port(port: int | None) -> int:
    """A port that is free now.

    Raises:
        UserError: the one asked for is not.
    """
    for tried in PORTS if port is None else [port]:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((HOST, tried))
            except (OSError, OverflowError):
                continue
            return int(one.getsockname()[1])
    told = f"{PORTS[0]} to {PORTS[-1]}" if port is None else str(port)
    raise UserError(f"--port {told}: taken, or not allowed; name another, or 0 for any that is free")


def _settle() -> None:
    """Gradio reads its settings from the environment; those here are the only ones."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SHARE": "False"}


class OnlyHere:
    """Refuses requests under another host's name (a page elsewhere that points its own name here), and adds the policy.

    Args:
        app: what is served.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").rpartition(b":")[0]
        if host not in (HOST.encode(), b"localhost"):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"lvcf app answers to this computer alone"})
            return

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", ONLY_FROM_HERE.encode())]
            await send(message)

        await self.app(scope, receive, told)
