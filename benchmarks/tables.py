"""Every measured table of the README and the pages, made from ``benchmarks/results``.

    python benchmarks/tables.py

In a page a table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; what is there is replaced.  A test holds
README and pages equal to what this makes, so change the results, not the page.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLACE = re.compile(r"(?<=<!-- table: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: in the CSV file.
        digits: behind the point.
        error: whether the standard error stands beside it.
        heading: in the page; empty for the name.
    """

    name: str
    digits: int
    error: bool = True
    heading: str = ""

    def shown(self, row: dict[str, str]) -> str:
        """A row's entry."""
        if not row[self.name]:
            return "–"
        error = f" ± {float(row[f'{self.name} se']):.{self.digits}f}" if self.error else ""
        return f"{float(row[self.name]):.{self.digits}f}{error}"


R2 = Column("R2", 3, error=False, heading="R²")
MAE, SSIM = Column("MAE", 2), Column("SSIM", 3)
TRUTH = Column("SSIM of truth", 3, error=False, heading="truth's SSIM")
SHARE = Column("share, smooth", 2, heading="share recovered")
PIXELS, RULER, ORACLE = Column("pixel EF off", 1), Column("ruler off", 1), Column("oracle EF off", 1)
SECONDS = Column("s/clip", 1, error=False)
STRICT = Column("strict class", 2, heading="class, strictly")
BRIEF = (MAE, SSIM, TRUTH, SHARE, PIXELS, RULER, ORACLE)
VALUES = (R2, MAE, Column("RMSE", 2, error=False), SSIM, TRUTH, SHARE, PIXELS, ORACLE)
TURNED = (Column("flip rate", 2), Column("pixel class", 2, heading="class in the pixels"))
CLASSES = (*TURNED, SSIM, TRUTH, SHARE, Column("mask IoU", 2))
PLAUSIBLE = (SSIM, Column("off manifold", 1), Column("on manifold", 2), Column("sharpness", 2))
TOLD_APART = Column("told apart [drawing]", 2, error=False, heading="told apart")
LIKE_ECHOES = (MAE, PIXELS, ORACLE, SHARE, *PLAUSIBLE, TOLD_APART)
LIKE_FACES = (*TURNED, Column("oracle class", 2), STRICT, *PLAUSIBLE, TOLD_APART)
GIVEN = (STRICT, *PLAUSIBLE, SHARE, SECONDS)
FIVE = ("do nothing", "ceiling", "prompt only", "full, neutral", "full, target")
COMMANDS = {
    "phantom": "make bench",
    "face": "make bench-face-motion",
    "motion": "make bench-face-motion",
    "black_box": "make bench-black-box",
    "printed": "make bench-printed",
    "plausible_echo": "make bench-plausible",
    "plausible_face": "make bench-plausible",
    "plausible_motion": "make bench-plausible",
    "words_echo": "make bench-plausible",
    "words_face": "make bench-plausible",
    "words_motion": "make bench-plausible",
    "ways_echo": "make bench-ways",
    "few_steps": "make bench-speed",
    "choice_face": "make bench-given",
    "given_face": "make bench-given",
    "given_motion": "make bench-given",
}
"""What makes the files that do not say so themselves."""


def digest(name: str, columns: Sequence[Column], rows: Sequence[str] = ()) -> str:
    """Some columns of an ablation's CSV file, and some rows or all."""
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        found = [row for row in csv.DictReader(stream) if not rows or row["method"] in rows]
    headings = [column.heading or column.name for column in columns]
    lines = [
        f"| method | n | {' | '.join(headings)} |",
        "|---" * (2 + len(columns)) + "|",
        *(f"| {row['method']} | {row['n']} | {' | '.join(c.shown(row) for c in columns)} |" for row in found),
    ]
    return f"{caption(name)}\n\n" + "\n".join(lines)


def whole(name: str) -> str:
    """A result file as it is."""
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8").strip()
    return f"{caption(name)}\n\n{text}" if name in COMMANDS else text


def caption(name: str) -> str:
    """What an ablation's table shows, and the command that made it."""
    return (
        f"Simulated clips; mean ± standard error over n clips; made by `{COMMANDS[name]}`, in "
        f"`benchmarks/results/{name}.csv`."
    )


TABLES: dict[str, Callable[[], str]] = {
    "brief": lambda: digest("phantom", BRIEF, FIVE),
    "phantom": lambda: digest("phantom", (*VALUES, SECONDS)),
    "face": lambda: digest("face", CLASSES),
    "motion": lambda: digest("motion", CLASSES),
    "black_box": lambda: digest("black_box", (*VALUES, Column("queries", 0, error=False), SECONDS)),
    "printed": lambda: digest("printed", VALUES),
    "plausible_echo": lambda: digest("plausible_echo", LIKE_ECHOES),
    "plausible_face": lambda: digest("plausible_face", LIKE_FACES),
    "plausible_motion": lambda: digest("plausible_motion", (*TURNED, STRICT, *PLAUSIBLE, TOLD_APART)),
    "words_echo": lambda: digest("words_echo", LIKE_ECHOES),
    "words_face": lambda: digest("words_face", LIKE_FACES),
    "words_motion": lambda: digest("words_motion", (*TURNED, STRICT, *PLAUSIBLE, TOLD_APART)),
    "few_steps": lambda: digest("few_steps", (MAE, PIXELS, ORACLE, SHARE, *PLAUSIBLE, SECONDS)),
    "ways_echo": lambda: digest("ways_echo", (*LIKE_ECHOES, SECONDS)),
    "choice_face": lambda: digest("choice_face", (*TURNED, Column("oracle class", 2), *GIVEN, Column("mask IoU", 2))),
    "given_face": lambda: digest("given_face", (*TURNED, Column("oracle class", 2), *GIVEN)),
    "given_motion": lambda: digest("given_motion", (*TURNED, *GIVEN)),
    "phantom_whole": lambda: whole("phantom"),
    "face_whole": lambda: whole("face"),
    "motion_whole": lambda: whole("motion"),
    "black_box_whole": lambda: whole("black_box"),
    "reliance": lambda: whole("reliance"),
    "reliance_3200": lambda: whole("reliance_3200"),
    "shortcut": lambda: whole("shortcut"),
    "repair": lambda: whole("repair"),
    "sanity": lambda: whole("sanity"),
    "speed": lambda: whole("speed"),
    "what_may_change": lambda: whole("what_may_change"),
    "manifold_limit": lambda: whole("manifold_limit"),
    "speckle_limit": lambda: whole("speckle_limit"),
    "vae_limit": lambda: whole("vae_limit"),
    "tiny_decoder": lambda: whole("tiny_decoder"),
    "steering": lambda: whole("steering"),
    "axioms": lambda: whole("axioms"),
    "judge": lambda: whole("judge"),
    "steering_llm": lambda: whole("steering_llm"),
    "steering_planned": lambda: whole("steering_planned"),
    "face_ruler": lambda: whole("face_ruler"),
    "carphone": lambda: whole("carphone"),
    "backbones": lambda: whole("backbones"),
    "backbone_memory": lambda: whole("backbone_memory"),
    "many": lambda: whole("many"),
}


def filled(text: str) -> str:
    """A page with its tables."""
    return PLACE.sub(lambda place: f"{place[1]}{place[2]}\n{TABLES[place[1]]()}\n\n", text)


def pages() -> list[Path]:
    """The README and the documentation's pages."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    """Write the tables into the pages."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    main()
