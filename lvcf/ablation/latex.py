"""A table for a paper: LaTeX with booktabs, everything escaped."""

from __future__ import annotations

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
