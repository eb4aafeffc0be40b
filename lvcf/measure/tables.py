"""A table of methods: terminal, Markdown, CSV and LaTeX, with what differs from the reference."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lvcf.files import write_rows
from lvcf.measure.columns import Result, headings_of, shown, table_row
from lvcf.measure.pareto import plot_pareto
from lvcf.measure.significance import Verdicts, verdicts
from lvcf.metrics.statistics import LEVEL

MARKUP = re.compile(r"[\\`*|]|\[(?=[^\]]*\]\()")
"""Characters that Markdown takes for markup wherever they stand, and a bracket that begins a link."""
COMPARED = ["column", "better", "worse", "undecided"]
BOLD = (
    "Bold: the best, or not significantly worse than the best (paired sign-permutation tests on the clips that both "
    f"rows have, Holm-corrected within the column, level {1.0 - LEVEL:.2f}); that is no proof of equality. R2 and RMSE "
    "are compared by squared errors; shares recovered clip by clip, where they are told; SSIM, where the true "
    "counterfactual is known, by its distance to the truth's. "
    "Correlations, FID, FVD and costs are not tested and never bold."
)
Lines = list[list[tuple[str, bool]]]
"""Entries with whether they stand out."""


def write_tables(results: list[Result], reference: str, output: Path) -> list[dict[str, Any]]:
    """Write ``table.{csv,md,tex}``, ``differences.csv`` and ``pareto.{png,svg}``, and print; returns the csv's rows.

    Args:
        results: the rows, in order; without any, nothing is written.
        reference: name of the row that the others are tested against.
        output: the ablation's folder.
    """
    if not results:
        return []
    headings = headings_of(result.metrics for result in results)
    rows = [table_row(result, headings) for result in results]
    kept = [heading for heading in headings if any(isinstance(row[heading], float) for row in rows)]
    tests = verdicts(results, kept, reference)
    lines, notes = entries(rows, kept, tests), remarks(results, tests)
    write_rows(output / "table.csv", rows)
    if tests.differences:
        write_rows(output / "differences.csv", tests.differences)
    differing = difference_rows(tests, kept)
    text = markdown(["method", "n", *kept], lines, notes, tests.reference, differing)
    (output / "table.md").write_text(text, encoding="utf-8")
    (output / "table.tex").write_text(latex_table(["method", "n", *kept], lines, notes), encoding="utf-8")
    plot_pareto(results, output)
    _print(["method", "n", *kept], lines, notes, differing, tests.reference, output)
    return rows


def entries(rows: list[dict[str, Any]], headings: list[str], tests: Verdicts) -> Lines:
    """What stands in the table, row by row."""
    return [
        [
            (str(row["method"]), False),
            (str(row["n"]) if row["n"] != "" else "–", False),
            *((shown(row, h), row["method"] in tests.best.get(h, [])) for h in headings),
        ]
        for row in rows
    ]


def remarks(results: list[Result], tests: Verdicts) -> list[str]:
    """The sentences below a table: what bold means, what is no method, what failed, what the paper's rows are."""
    told = [BOLD] if tests.best else []
    if tests.too_few:
        told.append(f"Too few clips for these tests, bold only where best: {'; '.join(tests.too_few)}.")
    if controls := [result.method for result in results if result.control]:
        told.append(f"For orientation, never bold: {'; '.join(controls)}.")
    told += [f"{result.method}: {result.problem}." for result in results if result.problem]
    told += [f"{r.method}: {r.metrics['unfinished']}." for r in results if "unfinished" in r.metrics]
    for source in dict.fromkeys(result.paper for result in results if result.paper):
        told.append(f"(paper): as published in {source}, on the paper's own data and models; not measured here.")
    return told + [f"{result.method}: {result.note}" for result in results if result.note]


def difference_rows(tests: Verdicts, headings: list[str]) -> list[list[str]]:
    """Per tested column the rows that are better, worse and undecided against the reference."""
    tested = [heading for heading in headings if any(d["column"] == heading for d in tests.differences)]
    return [
        [heading, *("; ".join(tests.against_reference(heading, verdict)) or "–" for verdict in COMPARED[1:])]
        for heading in tested
    ]


def _legend(reference: str) -> str:
    return (
        f"Against '{reference}': paired sign-permutation tests on the same clips and targets, Holm-corrected within "
        f"each column, level {1.0 - LEVEL:.2f}; every p value, with Wilcoxon's, is in differences.csv. "
        "Undecided means no difference shown, not that there is none."
    )


def markdown(headings: list[str], lines: Lines, notes: list[str], reference: str, differing: list[list[str]]) -> str:
    """``table.md``."""
    marked = [[f"**{_escaped(entry)}**" if bold else _escaped(entry) for entry, bold in line] for line in lines]
    text = _markdown_table(headings, marked)
    text += "\nMean ± standard error over n clips; intervals are in table.csv.\n"
    text += "".join(f"\n{_escaped(note)}\n" for note in notes)
    if differing:
        text += f"\n{_escaped(_legend(reference))}\n\n"
        text += _markdown_table(COMPARED, [[_escaped(entry) for entry in row] for row in differing])
    return text


def _markdown_table(headings: list[str], lines: list[list[str]]) -> str:
    rows = [f"| {' | '.join(row)} |" for row in (map(_escaped, headings), *lines)]
    return "\n".join([rows[0], "|" + "---|" * len(headings), *rows[1:]]) + "\n"


def _escaped(text: str) -> str:
    """Text that is no markup, neither Markdown's nor HTML's, and one line."""
    shown = html.escape(" ".join(text.splitlines()), quote=False)
    return MARKUP.sub(r"\\\g<0>", shown)


def _print(
    headings: list[str], lines: Lines, notes: list[str], differing: list[list[str]], reference: str, output: Path
) -> None:
    console = Console(width=max(Console().width, 220))
    table = Table(title=f"{output}: mean ± standard error over n clips")
    for heading in headings:
        table.add_column(Text(heading), justify="left" if heading == "method" else "right", overflow="fold")
    for line in lines:
        table.add_row(*(Text(entry, style="bold" if bold else "") for entry, bold in line))
    console.print(table)
    for note in notes:
        console.print(Text(note))
    if differing:
        console.print(Text(_legend(reference)))
        columns = Table()
        for heading in COMPARED:
            columns.add_column(heading, overflow="fold")
        for row in differing:
            columns.add_row(*map(Text, row))
        console.print(columns)


SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "²": "$^2$",
    "α": r"$\alpha$",
    "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
}
HEADINGS = {"R2": "R$^2$"}


def latex(text: str) -> str:
    """Text that LaTeX prints as it stands; a minus before a digit is a minus sign."""
    if len(text) > 1 and text[0] == "-" and text[1].isdigit():
        return "$-$" + latex(text[1:])
    return "".join(SPECIAL.get(character, character) for character in text)


def latex_table(headings: list[str], lines: list[list[tuple[str, bool]]], notes: list[str]) -> str:
    """``table.tex``: a ``tabular`` to be read with input, numbers to the right, bold as in the Markdown table.

    Args:
        headings: of the columns, the first of names.
        lines: entries with whether they are bold.
        notes: sentences for below the table.
    """
    body = [" & ".join(rf"\textbf{{{latex(t)}}}" if bold else latex(t) for t, bold in line) for line in lines]
    named = " & ".join(HEADINGS.get(heading, latex(heading)) for heading in headings)
    tabular = [rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}", r"\toprule", rf"{named} \\", r"\midrule"]
    tabular += [*(rf"{row} \\" for row in body), r"\bottomrule", r"\end{tabular}"]
    wrapped = [r"\resizebox{\textwidth}{!}{%", *tabular, "}"]
    said = [rf"\par\footnotesize {latex(note)}" for note in notes]
    return "\n".join([r"% \usepackage{booktabs,graphicx}", *wrapped, *said]) + "\n"
