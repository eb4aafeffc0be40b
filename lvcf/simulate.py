"""``lvcf simulate``: write a simulated data set with a known causal model."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcf.data.simulators.echo_set import simulate
from lvcf.errors import UserError


def main(args: list[str]) -> int:
    """Parse the command line and write the set."""
    parser = argparse.ArgumentParser(prog="lvcf simulate", description=__doc__)
    parser.add_argument(
        "domain", choices=["echo"], help="echo: apical four-chamber phantom in EchoNet-Dynamic's layout"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--n", type=int, required=True, help="number of clips")
    parser.add_argument("--seed", type=int, default=0, help="clip i depends on (seed, i) alone")
    parser.add_argument("--shortcut", action="store_true", help="plant a burnt-in marker whose brightness follows EF")
    options = parser.parse_args(args)
    if options.n < 1:
        raise UserError(f"--n {options.n}: at least one clip is needed")
    try:
        simulate(options.out, options.n, options.seed, options.shortcut)
    except OSError as error:
        raise UserError(f"{options.out}: cannot be written ({error.strerror}); choose another --out") from error
    print(f"{options.out}: {options.n} simulated clips; Factors.csv holds what each was made from")
    return 0
