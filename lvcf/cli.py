"""The command line: Lightning's verbs through LightningCLI, the others through a small table."""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
from collections.abc import Callable, Sequence

from lvcf.errors import UserError
from lvcf.ranks import left_to_rank_0, rank

CRASHED = 70
"""Exit code after a traceback, as sysexits.h's EX_SOFTWARE."""
USER_ERROR = f"{UserError.__module__}.{UserError.__name__}: "
LIGHTNING_VERBS = {
    "fit": "train a part of a backbone, a target model, or fine-tune the denoiser to a data set",
    "validate": "measure a training's model on the validation split",
    "test": "measure a training's model on the test split",
    "predict": "make counterfactual videos for a frozen target model",
}
VERBS = {
    "evaluate": ("lvcf.evaluate", "measure a run's counterfactuals, from the written files"),
    "ablate": ("lvcf.ablate", "run a grid of methods and compare them in one table"),
    "simulate": ("lvcf.simulate", "write a simulated data set with a known causal model"),
    "data": ("lvcf.data_check", "check a data set on disk: counts, unreadable files, labels, frame rates, sizes"),
    "steer": ("lvcf.steer", "steer a video editor by a causal graph, a judge and rewritten prompts"),
    "report": ("lvcf.report.page", "write the report.html of a run (also of steer), an ablation or a study"),
    "study": ("lvcf.study.command", "let people compare two runs blind, and analyse their answers"),
}


def usage() -> str:
    """What ``lvcf --help`` prints."""
    rows = [*LIGHTNING_VERBS.items(), *((verb, text) for verb, (_, text) in VERBS.items())]
    lines = [f"  {verb:<10} {text}" for verb, text in rows]
    return "\n".join(
        [
            "usage: lvcf VERB [options]",
            "",
            "Latent video counterfactuals: the smallest plausible change to a video that changes what a model says.",
            "",
            *lines,
            "",
            "lvcf VERB --help tells a verb's options.  lvcf predict --config phantom.yaml is a good start.",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code.  A user's mistake prints one line and returns 2."""
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    verb, *rest = arguments
    try:
        return _runner(verb)(rest)
    except UserError as error:
        # a loader process sends its whole traceback as the message; its last line is the user's
        return _tell(verb, str(error).strip().splitlines()[-1].removeprefix(USER_ERROR))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _crash()
        where = error.filename or "the output folder"
        return _tell(verb, f"{where}: the disk is full; make room and run the same command again")
    except Exception:  # a defect of lvcf's own: the traceback is for the issue, the exit code is not 'a clip failed'
        return _crash()
    except KeyboardInterrupt:
        print(f"lvcf {verb}: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _tell(verb: str, mistake: str) -> int:
    """Print one line, unless rank 0 has; returns the exit code."""
    if not left_to_rank_0():
        print(f"lvcf {verb}{f' (rank {rank()})' if rank() else ''}: {mistake}", file=sys.stderr)
    return 2


def _crash() -> int:
    """Print the traceback, unless rank 0 has ended before; returns the exit code."""
    if not left_to_rank_0():
        traceback.print_exc()
    return CRASHED


def _runner(verb: str) -> Callable[[list[str]], int]:
    """Heavy modules load here and not before, so that ``lvcf --help`` answers at once."""
    if verb in LIGHTNING_VERBS:
        from lvcf.lightning_cli import run

        return lambda rest: run(verb, rest)
    if verb not in VERBS:
        known = ", ".join([*LIGHTNING_VERBS, *VERBS])
        raise UserError(f"unknown verb '{verb}'; choose one of {known}")
    module: Callable[[list[str]], int] = importlib.import_module(VERBS[verb][0]).main
    return module
