"""``lvcf report FOLDER``: one HTML page about a run, a steering run, an ablation or a study, to be opened from disk."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from lvcf.errors import UserError
from lvcf.files import Json
from lvcf.report.ablation_page import ablation_context, is_ablation
from lvcf.report.beside import beside_context
from lvcf.report.run_page import run_context
from lvcf.report.templates import ramp, write_page
from lvcf.runs.folder import is_steering, read_manifest
from lvcf.steering.report import steering_context
from lvcf.study.report import study_context

Context = Callable[[Path], Json]


def main(args: list[str]) -> int:
    """``lvcf report FOLDER``: write the page and print its path; returns the exit code.

    Raises:
        UserError: FOLDER is nothing that lvcf wrote, one of its files is damaged, or there are several.
    """
    parser = argparse.ArgumentParser(
        prog="lvcf report", description="Write FOLDER/report.html, a page to open from disk and to print."
    )
    parser.add_argument(
        "folder", type=Path, nargs="+", help="of lvcf predict, lvcf steer, lvcf ablate or lvcf study make"
    )
    beside = "another run of the same clips, whose counterfactuals play beside those of the run FOLDER"
    parser.add_argument("--beside", type=Path, metavar="RUN", help=beside)
    options = parser.parse_args(args)
    folders = options.folder
    if len(folders) > 1:
        raise UserError(
            f"{folders[1]}: a page is about one folder; compare runs with lvcf evaluate "
            f"{shlex.join(map(str, folders))}, or methods on one page with lvcf ablate, or clips with lvcf report "
            f"{shlex.quote(str(folders[0]))} --beside {shlex.quote(str(folders[1]))}"
        )
    print(write_report(folders[0], options.beside))
    return 0


def write_report(folder: Path, beside: Path | None = None) -> Path:
    """Write ``<folder>/report.html`` from the folder's files and return its path.

    The page loads nothing from the network.  A run's videos are inside it unless they are many
    (:data:`lvcf.report.run_page.EMBEDDED`); those of a steering run, an ablation or a study are, stay where they are,
    and the page links to them.  It is the same page for the same files.

    Args:
        folder: what the page is about.
        beside: of a run, another one whose counterfactuals of the same clips are shown too.

    Raises:
        UserError: ``folder`` is nothing that lvcf wrote, one of its files is damaged, or ``beside`` does not fit it.
    """
    template, context = _kind(folder)
    if beside is not None and context is not run_context:
        raise UserError(f"--beside {beside}: needs runs of lvcf predict, and {folder} is none")
    content = context(folder) if beside is None else beside_context(folder, beside)
    return write_page(folder / "report.html", template, {"name": folder.resolve().name, "gradient": ramp(), **content})


def _kind(folder: Path) -> tuple[str, Context]:
    """The template for a folder and what fills it, by the file that each verb writes first."""
    if (folder / "manifest.json").is_file():
        steered = is_steering(read_manifest(folder))
        return ("steering.html.j2", steering_context) if steered else ("run.html.j2", run_context)
    if (folder / "key.json").is_file():
        return "study.html.j2", study_context
    if is_ablation(folder):
        return "ablation.html.j2", ablation_context
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a run's, an ablation's or a study's, such as runs/phantom")
    raise UserError(
        f"{folder}: holds no run (manifest.json), no ablation (cell folders) and no study (key.json); "
        "give a folder that lvcf predict, lvcf steer, lvcf ablate or lvcf study make wrote"
    )
