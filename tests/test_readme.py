"""What README, the pages, the Makefile and the configurations' comments tell a user to type is understood."""

from __future__ import annotations

import json
import re
import shlex

import pytest

import lvcf.cli.simulate
from lvcf.cli import LIGHTNING_VERBS, VERBS, main
from lvcf.cli.lightning import with_sections
from lvcf.cli.steer import make_parser
from lvcf.configuration import config_folder
from lvcf.targets import parse_target
from tests.helpers import ROOT, parse
from tests.toys import LinearTarget

README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))}
OWN_MODEL = PAGES[ROOT / "docs" / "own_model.md"]
PUBLISHED = PAGES[ROOT / "docs" / "published_models.md"]
KNOBS = PAGES[ROOT / "docs" / "troubleshooting.md"]
MAKEFILE = (ROOT / "Makefile").read_text()
LONGEST = 100
"""Letters of a line that is to be typed: more is cut off on the page."""


def fenced(text: str) -> list[str]:
    """The shell blocks of a page."""
    return re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def inline(text: str) -> list[str]:
    """Its inline code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def code(text: str) -> list[str]:
    """Commands of shell blocks and inline code, each in one line, without comments and what follows after it."""
    blocks = [block.replace("\\\n", " ") for block in (*fenced(text), *inline(text))]
    return [line.partition(" #")[0].partition(" && ")[0].strip() for block in blocks for line in block.splitlines()]


def python_blocks(text: str, holds: str) -> list[str]:
    """The Python that a page shows, of blocks that hold some words."""
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [block for block in blocks if holds in block]


def commands() -> list[str]:
    written = [line for text in (README, *PAGES.values()) for line in code(text)]
    found = [line for line in written if line.startswith("lvcf ")]
    found += [f"lvcf {line.partition(' -m lvcf ')[2]}" for line in written if " -m lvcf " in line]
    found += [line.replace("$(LVCF)", "lvcf").strip() for line in MAKEFILE.splitlines() if "\t$(LVCF) " in line]
    for path in sorted(config_folder().rglob("*.yaml")):
        found += [line[1:].strip() for line in path.read_text().splitlines() if re.match(r"#\s+lvcf ", line)]
    return list(dict.fromkeys(found))


def test_there_is_something_to_check() -> None:
    assert len(commands()) >= 12
    assert {line.split()[1] for line in commands()} >= {"simulate", "predict", "evaluate", "report", "ablate", "fit"}


@pytest.mark.parametrize("line", commands())
def test_every_command_is_understood(line, tmp_path, monkeypatch, capsys) -> None:
    verb, *arguments = shlex.split(line)[1:]
    assert verb in (*LIGHTNING_VERBS, *VERBS)
    monkeypatch.chdir(tmp_path)  # only shipped configurations are found
    monkeypatch.syspath_prepend(tmp_path)
    shown = [block for page in (OWN_MODEL, PUBLISHED) for block in python_blocks(page, "nn.Module")]
    (tmp_path / "mymodel.py").write_text("\n".join(shown))
    if not arguments:  # the verb's name in a sentence
        return
    if verb in LIGHTNING_VERBS:
        assert parse([verb, *arguments]).model.class_path
    elif verb == "simulate":
        asked = []
        recorded = {name: (lambda *a: asked.append(a), text) for name, (_, text) in lvcf.cli.simulate.DOMAINS.items()}
        monkeypatch.setattr(lvcf.cli.simulate, "DOMAINS", recorded)
        assert main([verb, *arguments]) == 0
        assert asked
    elif verb == "ablate":
        assert main([verb, *arguments, "--dry-run"]) == 0
    elif verb == "steer" and "--replay" not in arguments:  # not made: its weights would be downloaded
        assert make_parser().parse_args(with_sections(verb, arguments)).editor.class_path
    else:  # its arguments are understood: what is missing is the run
        assert main([verb, *arguments]) == 2
        assert "no such " in capsys.readouterr().err


def test_a_command_is_not_wider_than_a_page() -> None:
    texts = (README, *PAGES.values())
    lines = [line for text in texts for block in (*fenced(text), *inline(text)) for line in block.splitlines()]
    assert len(lines) > 500
    assert not [line for line in lines if len(line) > LONGEST]


def test_the_readme_is_a_door() -> None:
    assert len(README.encode()) <= 9000
    assert len(re.findall(r"^!\[", README, flags=re.MULTILINE)) == 1
    assert "| full, target |" in README


def test_every_knob_named_is_one() -> None:
    """Options with a value, beside a model that is asked by queries, whose plan has knobs too."""
    knobs = [line for line in code(KNOBS) if line.startswith("--") and " " in line]
    assert len(knobs) > 20
    (asked,) = (line for line in code(OWN_MODEL) if "OnnxTarget" in line and line.startswith("lvcf predict"))
    config = parse([*shlex.split(asked)[1:], *shlex.split(" ".join(knobs))])
    assert config.model.init_args.strength == 0.7
    assert config.model.init_args.target_model.init_args.plan.budget == 4000
    assert config.trainer.callbacks[0].init_args.through_denoiser


def test_a_training_goes_on_as_the_pages_say() -> None:
    assert "`--ckpt_path last`" in PAGES[ROOT / "docs" / "weights.md"]
    assert parse(["fit", "--config", "phantom/autoencoder.yaml", "--ckpt_path", "last"]).ckpt_path == "last"


@pytest.mark.parametrize(
    "target", [line for line in code(OWN_MODEL) if re.fullmatch(r"[a-z]+:[-.\d:]+|\d+(\.\.\d+)?", line)]
)
def test_the_targets_written_there_are_targets(target) -> None:
    assert parse_target(target, LinearTarget()).text == target


def test_every_make_target_named_exists_and_every_target_has_help() -> None:
    rules = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)[1].split())
    assert rules == phony
    written = [line for text in (README, *PAGES.values()) for line in code(text)]
    named = {word for line in written for word in re.findall(r"^make ([a-z-]+)", line)}
    assert {"demo", "test"} <= {word for line in code(README) for word in re.findall(r"^make ([a-z-]+)", line)}
    assert {"weights", "bench"} <= named <= rules


def test_what_writes_results_writes_their_tables() -> None:
    rules = [rule for rule in re.split(r"\n(?=[a-z-]+:)", MAKEFILE) if "benchmarks/" in rule]
    assert len(rules) == 17
    assert not [rule for rule in rules if "$(PY) benchmarks/tables.py" not in rule]


def test_every_file_linked_from_the_readme_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 15
    for link in links:
        assert link.startswith("https://") or (ROOT / link).is_file(), link


def test_the_folders_named_are_there() -> None:
    section = PAGES[ROOT / "docs" / "development.md"].partition("## Where things are")[2].partition("\n## ")[0]
    named = re.findall(r"`(lvcf/[\w/.]+|configs)`", section)
    assert len(named) > 8
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_table_of_backbones_is_what_was_counted() -> None:
    """Rows of the page against ``benchmarks/results/backbones.json``, which `make bench-backbones` writes."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "backbones.json").read_text())["rows"]
    page = PAGES[ROOT / "docs" / "results.md"]
    for row in rows:
        ratios = f"| {row['flops_ratio']:.1f}x | {row['flops_ratio_smoothgrad']:.1f}x |"
        assert re.search(rf"^\| {re.escape(row['backbone'])} \| .*{re.escape(ratios)}$", page, re.MULTILINE)
