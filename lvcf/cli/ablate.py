"""``lvcf ablate --config FILE``: run every cell of an ablation, each a process of its own, and compare them."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from lvcf.ablation.cells import WRITER, Cell, Plan, expand, reference, refuse_unknown, shard, slug
from lvcf.ablation.plan import read_plan
from lvcf.ablation.run import commands, run_cell
from lvcf.errors import UserError
from lvcf.files import named_folder
from lvcf.measure.columns import COLUMNS, shown
from lvcf.runs.lock import waited_for
from lvcf.wandb_runs.verbs import evaluate_options, log_comparison, with_logger

__all__ = ["COLUMNS", "WRITER", "Cell", "expand", "main", "read_plan", "shown", "slug", "write_results"]


def main(args: list[str]) -> int:
    """Parse the command line, run what is missing, print the table; returns 1 if a cell failed."""
    options = _parse(args)
    if options.n is not None and options.n < 1:
        raise UserError(f"--n {options.n}: at least one clip is needed")
    plan = read_plan(options.config)
    output = options.output or Path(plan["output"])
    try:
        cells = expand(plan, output, options.n)
    except UserError as mistake:
        raise UserError(f"{options.config}: {mistake}") from mistake
    chosen = choose(cells, options)
    evaluation = [str(option) for option in plan.get("evaluate") or []]
    if options.dry_run:
        for name, _ in chosen:
            lines = [shlex.join(command) for command in commands(output / slug(name), evaluation)]
            print(f"# {name}", *lines, sep="\n")
        return 0
    if options.logger:
        chosen = with_logger(chosen, output, hash_ids=not options.log_ids)
    failed = [cell[0] for cell in chosen if not run_cell(cell, output, [*evaluation, *evaluate_options(cell[1])])]
    rows = write_results(plan, output)
    if options.logger:
        log_comparison(rows, output, plan)
    if failed:
        print(f"failed: {', '.join(failed)}; see log.txt in their folders below {output}", file=sys.stderr)
    return int(bool(failed))


def _parse(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lvcf ablate", description=__doc__)
    parser.add_argument("--config", required=True, help="an ablation, e.g. ablations/phantom.yaml")
    parser.add_argument("--n", type=int, help="clips per cell instead of all (rounded up to whole batches)")
    parser.add_argument("--only", nargs="*", help="names of the cells to run; the table shows all that are done")
    parser.add_argument("--shard", metavar="i/n", help="the i-th of n parts of the cells, i from 1: for job arrays")
    parser.add_argument("--output", type=named_folder, help="folder instead of the configuration's")
    parser.add_argument("--dry-run", action="store_true", help="print the cells' commands and stop")
    parser.add_argument("--logger", choices=["wandb"], help="log every cell and the table to W&B, in one group")
    parser.add_argument("--log-ids", action="store_true", help="log the clips' names instead of hashes of them")
    return parser.parse_args(args)


def choose(cells: list[Cell], options: argparse.Namespace) -> list[Cell]:
    """The cells of ``--only`` and ``--shard``.

    Raises:
        UserError: there is no such cell, or no such part.
    """
    if options.only is not None:
        refuse_unknown(options.only, [name for name, _ in cells], f"cell of {options.config}, as --only says")
        cells = [cell for cell in cells if cell[0] in options.only]
    return shard(cells, options.shard) if options.shard is not None else cells


def write_results(plan: Plan, output: Path) -> list[dict[str, Any]]:
    """The tables and plots of what is done so far, whoever made it; returns the rows of ``table.csv``."""
    from lvcf.ablation.results import gather  # scipy and matplotlib take seconds to load
    from lvcf.measure.tables import write_tables

    output.mkdir(parents=True, exist_ok=True)
    with waited_for(output / ".lock"):  # another shard may be writing them
        return write_tables(gather(plan, output), reference(plan), output)
