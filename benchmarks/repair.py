"""What a repair does to a target model that relies on a planted marker, by what was declared irrelevant.

    make bench-repair

Every row is one model: right on held-out clips without and with the marker, its exact reliance on the marker
(:mod:`lvcf.phantoms.reliance`), and the share of the change that lies on the marker, of clips that were
explained by the model alone: before, those that the repair used; after, held-out ones.  The figures of models are those
of ``repair.json``; a repair that was not made has no row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.shortcut import explained, share_of, summary
from lvcf.files import read_record
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.ltx import ltx_backbone

BEFORE, RUNS = Path("runs/ablation_shortcut/relying"), Path("runs/ablation_repair")
WEIGHTS = Path("runs/weights/shortcut")
RESULTS = Path("benchmarks/results/repair.md")
REPAIRS = {"region": "repaired", "run": "repaired_run", "oracle": "repaired_oracle"}
"""Folders of the repaired weights, by what was declared; the cells of the ablation have the same names."""
COLUMNS = ("accuracy, no marker", "accuracy, marker", "reliance on the marker", "share of the change on the marker")


def figures(held_out: dict[str, Any]) -> list[str]:
    """A model's entries of the table, of one side of a ``repair.json``."""
    marked = held_out["marked"]
    values = (held_out["unmarked"]["accuracy"], marked["accuracy"], marked["reliance_on_marker"])
    return [f"{value:.3f}" for value in values]


def changed(run: Path, backbone: Backbone) -> str:
    """The share on the marker with its standard error and how many of how many clips reached; a dash without a run."""
    if not run.is_dir():
        return "–"
    clips = explained(run)
    told = summary(clips, [share_of(one, backbone)[0] for one in clips])
    share, error = told["share of the change on the marker"], told["its standard error"]
    return f"{share:.3f} ± {error:.3f} ({told['reached'] * len(clips):.0f} of {len(clips)} reached)"


def table(reports: dict[str, dict[str, Any]], backbone: Backbone) -> str:
    """Markdown, a row per model."""
    first = reports["region"]
    sets = first["before"]
    rows = [["before", *figures(sets), changed(BEFORE, backbone)]]
    rows += [[name, *figures(report["after"]), changed(RUNS / name, backbone)] for name, report in reports.items()]
    head = [
        f"Simulated motions; {first['pairs']} counterfactuals, {first['training_clips']} training clips, "
        f"{first['steps']} steps; measured on {sets['unmarked']['clips']:.0f} clips without and "
        f"{sets['marked']['clips']:.0f} with the marker; share: mean ± standard error; made by `make bench-repair`.",
        "",
        f"| declared irrelevant | {' | '.join(COLUMNS)} |",
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    reports = {name: WEIGHTS / folder / "repair.json" for name, folder in REPAIRS.items()}
    told = {name: read_record(path) for name, path in reports.items() if path.is_file()}
    text = table(told, ltx_backbone("face_motion/backbone").eval())
    RESULTS.write_text(text, encoding="utf-8")
    print(text)
