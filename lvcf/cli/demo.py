"""``lvcf demo``: simulate eight echocardiograms, explain the shipped model on them, measure, write the report."""

from __future__ import annotations

import argparse
from pathlib import Path

CLIPS, SEED = 8, 100


def main(args: list[str]) -> int:
    """Run the verbs one after another, as one would type them; returns the first exit code that is not 0."""
    from lvcf.cli import main as lvcf  # this module is one of its verbs

    argparse.ArgumentParser(prog="lvcf demo", description=__doc__).parse_args(args)
    for line in (
        f"simulate echo --out runs/data/echo_demo --n {CLIPS} --seed {SEED}",
        "predict --config phantom.yaml",
        "evaluate runs/phantom",
        "report runs/phantom",
    ):
        print(f"lvcf {line}", flush=True)
        code = lvcf(line.split())
        if code:
            return code
    print(f"report: {Path('runs/phantom/report.html').resolve()}")
    return 0
