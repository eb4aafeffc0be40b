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
from tests.helpers import ROOT, parse

README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))}
MAKEFILE = (ROOT / "Makefile").read_text()
RATIOS = ("flops_ratio", "flops_ratio_smoothgrad")


def code(text: str) -> list[str]:
    """Lines of fenced blocks and inline code, without comments."""
    fenced = re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    blocks = [block.replace("\\\n", " ") for block in (*fenced, *inline)]
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]


def commands() -> list[str]:
    written = [line for text in (README, *PAGES.values()) for line in code(text)]
    found = [line for line in written if line.startswith("lvcf ") and "mymodel" not in line]  # test_own_model.py
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


def test_options_named_in_the_text_exist() -> None:
    options = [part for line in code(README) for part in line.split() if re.match(r"--(model|data|trainer)\.", part)]
    options += [line for line in code(README) if line.startswith("--ckpt_path")]
    assert {"--model.prompt", "--ckpt_path last"} <= set(options)
    config = parse(["predict", "--config", "phantom.yaml", "--model.prompt", "neutral", "--threads", "1"])
    assert config.model.init_args.prompt == "neutral"
    assert parse(["fit", "--config", "phantom/autoencoder.yaml", "--ckpt_path", "last"]).ckpt_path == "last"


@pytest.mark.parametrize("target", [line for line in code(README) if re.fullmatch(r"[a-z]+:[-.\d:]+|\d+\.\.\d+", line)])
def test_the_targets_written_there_are_targets(target) -> None:
    from lvcf.guidance.goal import parse_target
    from tests.toys import LinearTarget

    assert parse_target(target, LinearTarget()).text == target


def test_every_make_target_named_exists_and_every_target_has_help() -> None:
    rules = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)[1].split())
    assert rules == phony
    named = {word for line in code(README) for word in re.findall(r"^make ([a-z-]+)", line)}
    assert {"demo", "test", "weights"} <= named <= rules


def test_every_file_linked_from_the_readme_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert link.startswith("https://") or (ROOT / link).is_file(), link


def test_the_folders_named_in_the_layout_are_there() -> None:
    section = README.partition("## Layout")[2]
    for name in re.findall(r"`(lvcf/[\w/]+)`", section):
        assert (ROOT / name).is_dir(), name


def test_the_table_of_backbones_is_what_was_counted() -> None:
    """Rows of the README against ``benchmarks/results/backbones.json``, which `make bench-backbones` writes."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "backbones.json").read_text())["rows"]
    for backbone in {row["backbone"] for row in rows}:
        ratios = [row[name] for row in rows if row["backbone"] == backbone for name in RATIOS]
        assert f"| {backbone} | " + " | ".join(f"{ratio:.1f}x" for ratio in ratios) + " |" in README
