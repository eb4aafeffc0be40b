"""``lvcf ablate --config FILE``: run every cell of an ablation, each a process of its own, and compare them."""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from lvcf.configuration import read_section
from lvcf.errors import UserError
from lvcf.files import write_rows
from lvcf.wandb_runs.verbs import evaluate_options, log_comparison, with_logger

COLUMNS = {
    "R2": "adherence/r2",
    "MAE": "adherence/mae",
    "RMSE": "adherence/rmse",
    "within": "adherence/within_tolerance",
    "flip rate": "adherence/flip_rate",
    "SSIM": "fidelity/ssim",
    "SSIM of truth": "truth/ssim_of_truth",
    "share, smooth": "truth/share_recovered_smooth",
    "share, raw": "truth/share_recovered_raw",
    "pixel EF off": "truth/pixel_ef_error",
    "pixel EF r": "truth/pixel_ef_r",
    "oracle EF off": "truth/oracle_ef_error",
    "pixel class": "truth/pixel_class",
    "pixel class of truth": "truth/pixel_class_of_truth",
    "oracle class": "truth/oracle_class",
    "ruler off": "truth/ruler_error",
    "mask IoU": "truth/mask_iou",
    "EDV leak %": "leakage/edv_percent",
    "L1": "truth/l1_levels",
    "back SSIM": "reversibility/ssim",
    "back L1": "reversibility/l1_levels",
    "steps": "cost/steps",
    "gradients": "cost/gradient_evaluations",
    "queries": "cost/queries",
    "s/clip": "cost/seconds",
}
"""Table headings and the metrics behind them."""

Cell = tuple[str, dict[str, Any]]


def main(args: list[str]) -> int:
    """Parse the command line, run what is missing, print the table; returns 1 if a cell failed."""
    parser = argparse.ArgumentParser(prog="lvcf ablate", description=__doc__)
    parser.add_argument("--config", required=True, help="an ablation, e.g. ablations/phantom.yaml")
    parser.add_argument("--n", type=int, help="clips per cell instead of all (rounded up to whole batches)")
    parser.add_argument("--only", nargs="*", help="names of the cells to run; the table shows all that are done")
    parser.add_argument("--output", type=Path, help="folder instead of the configuration's")
    parser.add_argument("--dry-run", action="store_true", help="print the cells and stop")
    parser.add_argument("--logger", choices=["wandb"], help="log every cell and the table to W&B, in one group")
    parser.add_argument("--log-ids", action="store_true", help="log the clips' names instead of hashes of them")
    options = parser.parse_args(args)
    plan = read_section(options.config, "ablate")
    output = options.output or Path(plan.get("output", "runs/ablation"))
    cells = expand(plan, output, options.n)
    if options.only is not None:
        unknown = set(options.only) - {name for name, _ in cells}
        if unknown:
            raise UserError(f"{options.config}: no cell '{min(unknown)}'; there are {', '.join(n for n, _ in cells)}")
    chosen = [cell for cell in cells if options.only is None or cell[0] in options.only]
    if options.dry_run:
        print("\n".join(name for name, _ in chosen))
        return 0
    if options.logger:
        chosen = with_logger(chosen, output, hash_ids=not options.log_ids)
    failed = [name for name, section in chosen if not run_cell(name, section, output)]
    rows = [row for name, _ in cells if (row := read_row(name, output))]
    write_tables(rows, output)
    if options.logger:
        log_comparison(rows, output, plan)
    if failed:
        print(f"failed: {', '.join(failed)}; see log.txt in their folders below {output}", file=sys.stderr)
    return int(bool(failed))


def expand(plan: dict[str, Any], output: Path, n: int | None) -> list[Cell]:
    """Every case for every prompt it names, as a whole ``predict`` section; ``{output}`` stands for the output folder.

    Raises:
        UserError: the plan lacks an entry, or two cells would share a folder.
    """
    missing = [key for key in ("base", "output", "prompts", "cases") if key not in plan]
    if missing:
        raise UserError(f"the ablation lacks '{missing[0]}:'; see configs/ablations/phantom.yaml for the entries")
    base = read_section(plan["base"], "predict")
    cells = []
    for case, changes in plan["cases"].items():
        for prompt in changes.get("prompts", plan["prompts"]):
            name = f"{case}, {prompt}" if len(changes.get("prompts", plan["prompts"])) > 1 else case
            section = copy.deepcopy(base)
            section["model"]["init_args"] |= {**plan.get("model", {}), **changes.get("model", {}), "prompt": prompt}
            section["model"]["init_args"]["output"] = str(output / slug(name))
            section["data"] = changes.get("data", plan.get("data", section["data"]))
            section["trainer"]["callbacks"] = [*changes["callbacks"], writer(case)]
            if n is not None:
                section["trainer"]["limit_predict_batches"] = -(-n // section["data"]["init_args"]["batch_size"])
            cells.append((name, json.loads(json.dumps(section).replace("{output}", str(output)))))
    folders = [slug(name) for name, _ in cells]
    shared = [name for name, _ in cells if folders.count(slug(name)) > 1]
    if shared:
        raise UserError(f"cells '{shared[0]}' and '{shared[1]}' would share the folder {slug(shared[0])}; rename one")
    return cells


def writer(method: str) -> dict[str, Any]:
    """The prediction writer's entry."""
    return {"class_path": "lvcf.callbacks.writer.PredictionWriter", "init_args": {"method": method}}


def slug(name: str) -> str:
    """A cell's folder name."""
    return "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")


def run_cell(name: str, section: dict[str, Any], output: Path) -> bool:
    """Predict and evaluate one cell unless that is done; processes, since Lightning's launcher re-executes sys.argv."""
    folder = output / slug(name)
    asked = yaml.safe_dump({"predict": section})
    cell = folder / "cell.yaml"
    if (folder / "metrics.json").exists() and cell.exists() and cell.read_text() == asked:
        return True
    folder.mkdir(parents=True, exist_ok=True)
    cell.write_text(asked)
    (folder / "metrics.json").unlink(missing_ok=True)
    print(f"ablate: {name}", flush=True)
    with (folder / "log.txt").open("a") as log:
        for verb in (["predict", "--config", str(cell)], ["evaluate", str(folder), *evaluate_options(section)]):
            code = subprocess.run([sys.executable, "-m", "lvcf", *verb], stdout=log, stderr=log, check=False).returncode
            if code not in (0, 1):
                return False
    return (folder / "metrics.json").exists()


def read_row(name: str, output: Path) -> dict[str, Any] | None:
    """A cell's metrics under the table's headings; None if it is not done."""
    path = output / slug(name) / "metrics.json"
    if not path.exists():
        return None
    metrics = json.loads(path.read_text())
    row: dict[str, Any] = {"method": name, "n": metrics["n"]}
    for heading, key in COLUMNS.items():
        row[heading], row[f"{heading} se"] = metrics.get(key), metrics.get(f"{key}.se")
    return row


def write_tables(rows: list[dict[str, Any]], output: Path) -> None:
    """``table.csv`` (with standard errors), ``table.md``, and the terminal."""
    if not rows:
        return
    write_rows(output / "table.csv", rows)
    headings = ["method", "n", *(h for h in COLUMNS if any(isinstance(row[h], float) for row in rows))]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(shown(row, h) for h in headings) + " |" for row in rows]
    (output / "table.md").write_text("\n".join(lines) + "\n")
    table = Table(title=f"{output}: mean ± standard error over n clips")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "method" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(shown(row, h) for h in headings))
    Console(width=max(Console().width, 220)).print(table)


def shown(row: dict[str, Any], heading: str) -> str:
    """A table entry."""
    value, error = row[heading], row.get(f"{heading} se")
    if not isinstance(value, float):
        return str(value) if heading in ("method", "n") else "–"
    digits = 3 if abs(value) < 2 else 2 if abs(value) < 20 else 1
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if isinstance(error, float) else "")
