"""``lvcf simulate``: write a simulated data set with a known causal model."""

from __future__ import annotations

import argparse
import errno
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import get_args

from lvcf.errors import UserError
from lvcf.files import named_folder
from lvcf.phantoms.echo import set as echo
from lvcf.phantoms.face import set as face
from lvcf.phantoms.motion import set as motion
from lvcf.phantoms.set_folder import Marker
from lvcf.runs.lock import locked

DOMAINS: dict[str, tuple[Callable[[Path, int, int, Marker], None], str]] = {
    "echo": (echo.simulate, "apical four-chamber phantom in EchoNet-Dynamic's layout; marker: brightness is EF"),
    "echo_exact": (partial(echo.simulate, exact=True), "echo in a lossless codec, to train on beside it"),
    "face": (face.simulate, "faces with seven expressions in FERV39K's layout; marker: colour is the expression"),
    "face_do": (partial(face.simulate, intervene=True), "face, with beard and baldness set at random on anybody"),
    "motion": (motion.simulate, "moved objects in Something-Something V2's layout; marker: colour is the action"),
}
"""Writers of a set of n clips with a seed and a planted marker, and what they write."""


def main(args: list[str]) -> int:
    """Parse the command line and write the set."""
    parser = argparse.ArgumentParser(prog="lvcf simulate", description=__doc__)
    kinds = "; ".join(f"{domain}: {text}" for domain, (_, text) in DOMAINS.items())
    parser.add_argument("domain", choices=list(DOMAINS), help=kinds)
    parser.add_argument("--out", type=named_folder, required=True, help="folder to write")
    parser.add_argument("--n", type=int, required=True, help="number of clips")
    parser.add_argument("--seed", type=int, default=0, help="clip i depends on (seed, i) alone")
    marker = "plant a corner marker: a shortcut that tells the label, one of a random class, or one that alone tells it"
    parser.add_argument("--marker", choices=get_args(Marker), default="none", help=marker)
    options = parser.parse_args(args)
    if options.n < 1:
        raise UserError(f"--n {options.n}: at least one clip is needed")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: choose 0 or more")
    try:
        with locked(options.out, "--out"):
            DOMAINS[options.domain][0](options.out, options.n, options.seed, options.marker)
    except BrokenProcessPool as error:
        raise UserError(f"{options.out}: a worker was killed; run the same command again, which goes on") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{options.out}: cannot be written ({error.strerror}); choose another --out") from error
    print(f"{options.out}: {options.n} simulated clips; Factors.csv holds what each was made from")
    return 0
