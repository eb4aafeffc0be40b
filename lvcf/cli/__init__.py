"""The command line: Lightning's verbs through LightningCLI, the others through a small table."""

from __future__ import annotations

import importlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from lvcf.errors import UserError, last_line, os_error_line
from lvcf.runs.ranks import left_to_rank_0, rank

CRASHED = 70
"""Exit code after a traceback, as sysexits.h's EX_SOFTWARE."""
SIGNALLED = 128
"""Added to a signal's number, as a shell does."""
LIGHTNING_VERBS = {
    "fit": "train a part of a backbone, a target model, or fine-tune the denoiser to a data set",
    "validate": "measure a training's model on the validation split",
    "test": "measure a training's model on the test split",
    "predict": "make counterfactual videos for a frozen target model",
    "repair": "fine-tune the target model on counterfactuals whose change is declared irrelevant",
}
VERBS = {
    "demo": ("lvcf.cli.demo", "the whole of it on eight simulated clips, into runs/phantom"),
    "evaluate": ("lvcf.cli.evaluate", "measure a run's counterfactuals, from the written files"),
    "ablate": ("lvcf.cli.ablate", "run a grid of methods and compare them in one table"),
    "simulate": ("lvcf.cli.simulate", "write a simulated data set with a known causal model"),
    "data": ("lvcf.cli.data", "check a data set on disk: counts, unreadable files, labels, frame rates, sizes"),
    "steer": ("lvcf.cli.steer", "steer a video editor by a causal graph, a judge and rewritten prompts"),
    "report": ("lvcf.cli.report", "write the report.html of a run (also of steer), an ablation or a study"),
    "summarise": ("lvcf.cli.summarise", "what the model looks at over all clips of a run: maps, regions, clusters"),
    "app": ("lvcf.cli.app", "explain clips on a page in the browser, on this computer alone"),
    "study": ("lvcf.cli.study", "let people compare two runs blind, and analyse their answers"),
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
            "lvcf VERB --help tells a verb's options.  lvcf demo is a good start.",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code.

    A user's mistake prints one line and gives 2, a defect prints its traceback and gives 70.  SIGTERM gives 143, Ctrl-C
    130, and a reader of the output that has gone (``lvcf ... | head``) 141, all as a shell counts.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns that it could not download code of a hub's
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack a letter; that must not end a run
    try:
        try:
            code = _run(arguments)
        finally:
            if sys.stdout is not None:  # as where it is closed: cron's and services' ways to start a command
                sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter's own flush fails as well
        if isinstance(error, BrokenPipeError):
            return SIGNALLED + signal.SIGPIPE
        return _tell(arguments[0] if arguments else "", f"what it prints could not be written ({error.strerror})")
    return code


def _run(arguments: list[str]) -> int:
    """Run one verb; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    verb, *rest = arguments
    try:
        _check_folder()
        return _runner(verb)(rest)
    except BrokenPipeError:
        raise
    except UserError as error:
        return _tell(verb, last_line(error))
    except OSError as error:
        told = os_error_line(error)
        return _tell(verb, told) if told else _crash()
    except Exception:  # a defect of lvcf's own: the traceback is for the issue, the exit code is not 'a clip failed'
        return _crash()
    except KeyboardInterrupt:
        return _interrupted(verb)
    except SystemExit as stop:
        return _stopped(verb, stop)


def _check_folder() -> None:
    """The working folder is there.

    Raises:
        UserError: it is not.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the working folder has been deleted; cd into one that exists") from error


def _tell(verb: str, mistake: str, code: int = 2) -> int:
    """Print one line, unless rank 0 has; returns the exit code."""
    if not left_to_rank_0():
        print(f"lvcf {verb}{f' (rank {rank()})' if rank() else ''}: {mistake}", file=sys.stderr)
    return code


def _crash() -> int:
    """Print the traceback, unless rank 0 has ended before; returns the exit code."""
    if not left_to_rank_0():
        traceback.print_exc()
    return CRASHED


def _interrupted(verb: str) -> int:
    print(f"lvcf {verb}: interrupted; the same command goes on where it stopped", file=sys.stderr)
    return SIGNALLED + signal.SIGINT


def _stopped(verb: str, stop: SystemExit) -> int:
    """What a SystemExit means; returns the exit code.

    Raises:
        SystemExit: it is the parser's, after --help or a wrong argument.
        BrokenPipeError: it is rich's, which ends the program when nobody reads its output.
    """
    if _raised_in(stop) == "argparse":
        raise stop
    if isinstance(stop.__context__, BrokenPipeError):
        raise stop.__context__
    if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns one into the other
        return _interrupted(verb)
    if type(stop).__name__ == "SIGTERMException":  # Lightning's, which is a SystemExit without a code
        how = "go on from its last checkpoint with --ckpt_path last" if verb == "fit" else "start it again"
        return _tell(verb, f"stopped by SIGTERM; {how}", SIGNALLED + signal.SIGTERM)
    return _tell(verb, f"the module {_raised_in(stop)} ended the program ({stop!r}); take that out of it", CRASHED)


def _raised_in(stop: SystemExit) -> str:
    """Name of the module whose code raised it."""
    frames = list(traceback.walk_tb(stop.__traceback__))
    return str(frames[-1][0].f_globals["__name__"])


def _runner(verb: str) -> Callable[[list[str]], int]:
    """Heavy modules load here and not before, so that ``lvcf --help`` answers at once."""
    if verb in LIGHTNING_VERBS:
        from lvcf.cli.lightning import run

        return lambda rest: run(verb, rest)
    if verb not in VERBS:
        known = ", ".join([*LIGHTNING_VERBS, *VERBS])
        raise UserError(f"unknown verb '{verb}'; choose one of {known}")
    module: Callable[[list[str]], int] = importlib.import_module(VERBS[verb][0]).main
    return module
