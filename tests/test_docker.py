"""docker/: the files are read, since tests need no engine: what is built, from what, as whom; and hadolint."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers import ROOT

DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker" / "compose.yaml"


def instructions() -> list[tuple[str, str]]:
    """Every instruction and its arguments, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(line.split()[0], line.partition(" ")[2]) for line in joined]


def arguments() -> dict[str, str]:
    return dict(text.partition("=")[::2] for name, text in instructions() if name == "ARG")


def test_the_base_image_is_a_build_argument() -> None:
    known = {"ARG", "FROM", "RUN", "USER", "WORKDIR", "COPY", "ENV", "CMD"}
    names = [name for name, _ in instructions()]
    assert set(names) == known  # the parser understands every line
    assert names[:2] == ["ARG", "FROM"]
    assert arguments()["BASE"] == "python:3.11-slim"
    assert [text for name, text in instructions() if name == "FROM"] == ["${BASE}"]
    assert "BASE=nvidia/cuda:" in DOCKERFILE.read_text()  # how to build on the CUDA base is told


def test_nothing_but_packages_is_downloaded() -> None:
    for name, text in instructions():
        assert name != "ADD"
        assert not re.search(r"curl|wget|git |https?://|hf |huggingface", text), text
    fetching = [t for name, t in instructions() if name == "RUN" and re.search(r"install(?! -d)", t)]
    assert all("apt-get install -y --no-install-recommends" in t or "make install" in t for t in fetching)


def test_the_container_does_not_run_as_root() -> None:
    users = [text for name, text in instructions() if name == "USER"]
    assert users == ["lvcf"]
    assert arguments()["UID"] == "1000"
    after = [name for name, _ in instructions()]
    after = after[after.index("USER") :]
    assert {"COPY", "RUN", "CMD"} <= set(after)  # the environment is the user's own
    copied = [text for name, text in instructions() if name == "COPY"]
    assert all(text.startswith("--chown=lvcf:lvcf ") for text in copied)


def test_what_is_copied_exists_and_reaches_the_build() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored[0] == "*"
    sources = [s for name, text in instructions() if name == "COPY" for s in text.split()[1:-1]]
    assert all((ROOT / source).exists() for source in sources)
    assert {f"!{source}" for source in sources} == {line for line in ignored if line.startswith("!")}


def test_what_the_build_and_the_container_make_are_targets_whose_files_are_there() -> None:
    (command,) = [json.loads(text) for name, text in instructions() if name == "CMD"]
    assert command == ["make", "demo"]
    for target in ("install", "demo"):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("service", ["demo", "demo-gpu"])
def test_the_compose_file_builds_this_and_runs_the_demo(service) -> None:
    compose = yaml.safe_load(COMPOSE.read_text())
    assert set(compose["services"]) == {"demo", "demo-gpu"}
    made = compose["services"][service]
    build, (volume,) = made["build"], made["volumes"]
    context = (COMPOSE.parent / build["context"]).resolve()
    assert (context, context / build["dockerfile"]) == (ROOT, DOCKERFILE)
    asked = {name: re.fullmatch(rf"\$\{{{name}:-(.*)\}}", value)[1] for name, value in build["args"].items()}
    assert asked == arguments()
    workdir = dict(instructions())["WORKDIR"]
    assert (volume["type"], volume["target"]) == ("bind", f"{workdir}/runs")
    assert (COMPOSE.parent / volume["source"]).resolve() == ROOT / "runs"
    assert not {"command", "entrypoint", "user", "privileged"} & set(made)  # the image's own, which is not root
    devices = made.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    assert [d["capabilities"] for d in devices] == ([["gpu"]] if service == "demo-gpu" else [])
    assert made.get("profiles", []) == (["gpu"] if service == "demo-gpu" else [])


# beside the interpreter, where the dev extra puts it, or on the path
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint comes with the dev extra")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
