"""``lvcf study make|analyse``: people compare two runs' counterfactuals, side by side and blind."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcf.study.analyse import analyse, print_analysis
from lvcf.study.make import make_study


def main(args: list[str]) -> int:
    """Parse the command line, make a study or analyse its answers; returns the exit code.

    Raises:
        UserError: a run, the study or an answer file is not what it should be.
    """
    parser = argparse.ArgumentParser(prog="lvcf study", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("make", help="write a page that raters open from disk, and the key apart from it")
    make.add_argument("first", metavar="RUN_A", type=Path, help="folder of an lvcf predict run")
    make.add_argument("second", metavar="RUN_B", type=Path, help="another run: same clips, same targets")
    make.add_argument("--n", type=int, default=100, help="pairs to compare; attention checks come on top")
    make.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, not there yet")
    make.add_argument("--seed", type=int, default=0, help="of the choice of clips, the sides and the order")
    make.add_argument("--quantity", default="", help="what targets are values of: 'ejection fraction'")
    read = verbs.add_parser("analyse", help="preferences, sign test and agreement, from the raters' files")
    read.add_argument("study", metavar="DIR", type=Path, help="the folder that lvcf study make wrote")
    read.add_argument("answers", nargs="*", type=Path, help="raters' files, instead of all in DIR/answers")
    options = parser.parse_args(args)
    if options.verb == "make":
        page = make_study(options.first, options.second, options.n, options.out, options.seed, options.quantity)
        print(f"for the raters: {page.parent} (they open {page.name}; their files go into {options.out / 'answers'})")
        print(f"not for them:   {options.out / 'key.json'}")
    else:
        print_analysis(analyse(options.study, options.answers), options.study)
    return 0
