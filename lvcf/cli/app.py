"""``lvcf app``: a page in the browser, for who does not type commands."""

from __future__ import annotations

import argparse

from lvcf.cli.report import write_report


def main(args: list[str]) -> int:
    """``lvcf app``: serve the page until it is ended; returns the exit code.

    Raises:
        UserError: Gradio is not installed, or the port is taken.
    """
    parser = argparse.ArgumentParser(
        prog="lvcf app",
        description="Explain clips on a page in the browser. It is served to this computer alone; nothing leaves it.",
    )
    parser.add_argument("--port", type=int, help="0: any that is free; by default the first free from 7860 on")
    options = parser.parse_args(args)
    from lvcf.app.serve import serve

    return serve(options.port, write_report)
