"""pyproject.toml, constraints.txt, Makefile and the files about the project agree with each other and with the code."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = {extra: [Requirement(t) for t in texts] for extra, texts in PROJECT["optional-dependencies"].items()}
# Where a module's name is not its distribution's.
DISTRIBUTION = {
    "yaml": "pyyaml",
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}


def distribution(module: str) -> str:
    return canonicalize_name(DISTRIBUTION.get(module, module))


def imported(folder: Path) -> dict[str, str]:
    """Distribution -> one file that imports it, for every absolute import, also those inside functions."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for top in (name.partition(".")[0] for name in names):
                if top not in sys.stdlib_module_names and top not in ("lvcf", "tests", "benchmarks", "conftest"):
                    found.setdefault(distribution(top), str(path.relative_to(ROOT)))
    return found


def class_paths(node: object) -> set[str]:
    """Every dotted path of a class in a configuration."""
    if isinstance(node, dict):
        own = {node["class_path"]} if isinstance(node.get("class_path"), str) else set()
        return own.union(*(class_paths(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(class_paths(value) for value in node))
    return set()


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def test_every_import_of_the_package_is_declared():
    optional = [r for extra, requirements in EXTRAS.items() if extra != "dev" for r in requirements]
    found = imported(ROOT / "lvcf")
    assert "torch" in found  # the walk sees the code
    missing = {name: path for name, path in found.items() if name not in names(RUNTIME + optional)}
    assert not missing


def test_every_import_of_the_tests_is_declared():
    declared = names(RUNTIME + [r for requirements in EXTRAS.values() for r in requirements])
    missing = {name: path for name, path in imported(ROOT / "tests").items() if name not in declared}
    assert not missing


def test_every_class_path_of_the_configurations_is_from_a_declared_package():
    files = sorted((ROOT / "configs").rglob("*.yaml"))
    assert files
    tops = {p.partition(".")[0] for file in files for p in class_paths(yaml.safe_load(file.read_text()))}
    assert "lvcf" in tops
    assert {distribution(top) for top in tops} - {"lvcf"} <= names(RUNTIME)


def pinned(name: str) -> dict[str, Requirement]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return {canonicalize_name(r.name): r for r in (Requirement(line) for line in lines if line)}


def test_constraints_pin_every_dependency_within_its_bounds():
    pins = pinned("constraints.txt")
    for requirement in [*RUNTIME, *(r for requirements in EXTRAS.values() for r in requirements)]:
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        assert requirement.specifier.contains(specifier.version), f"{pin} is outside {requirement}"


def test_the_lowest_versions_are_the_lower_bounds():
    """Of everything that the package imports; tools and the site's builders have one version for all."""
    tools = ("dev", "docs")
    used = [*RUNTIME, *(r for extra, requirements in EXTRAS.items() if extra not in tools for r in requirements)]
    lowest = {canonicalize_name(r.name): [Version(s.version) for s in r.specifier if s.operator == ">="] for r in used}
    pins = {name: [Version(s.version) for s in r.specifier] for name, r in pinned("constraints-lowest.txt").items()}
    assert pins == lowest


def test_the_development_environment_has_every_extra():
    """What an extra brings is tested, not skipped."""
    (told,) = re.findall(r"^EXTRAS = (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(told.split(",")) == set(EXTRAS)


def test_every_bound_has_a_reason():
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if re.match(r'\s+"[A-Za-z0-9_\[\]-]+[<>=]', line):
            assert re.search(r'",\s+# \w', line), f"no reason beside {line.strip()}"


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_malicious_releases_of_lightning_are_refused(name: str, version: str):
    (requirement,) = [r for r in RUNTIME if r.name == name]
    assert not requirement.specifier.contains(version)


def test_targets_that_the_documents_name_exist():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE))
    assert {"demo", "test", "test-slow", "lint", "weights", "bench", "clean"} <= targets
    documents = [ROOT / ".ci" / "run", ROOT / "docker" / "Dockerfile", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    for document in documents:
        # in a code span or at the start of a command line, where `make X` is no English
        named = set(re.findall(r"(?:`|^\s*(?:\$ |RUN )?)make ([a-z][a-z-]*)", document.read_text(), flags=re.MULTILINE))
        assert named <= targets, f"{document.name} names {sorted(named - targets)}, which the Makefile lacks"


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"].partition(" AND ")[0]  # the other is that of weights
    assert re.search(rf"^## \[?{re.escape(PROJECT['version'])}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_command_line_entry_point_answers():
    module, _, function = PROJECT["scripts"]["lvcf"].partition(":")
    main = getattr(__import__(module, fromlist=[function]), function)
    assert main(["--help"]) == 0


def test_the_wheel_carries_configurations_weights_and_templates():
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling comes with the dev extra")
    builder = wheel.WheelBuilder(str(ROOT))
    carried = {f.distribution_path for f in builder.recurse_included_files()}
    # forced files (configs/) are listed apart from the selected ones
    carried |= {f.distribution_path for f in builder.recurse_forced_files(builder.config.get_force_include())}
    expected = {f"lvcf/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    for pattern in (
        "**/*.py",
        "weights/**/*.safetensors",
        "weights/**/*.bin",
        "weights/**/LICENSE",
        "weights/**/*.json",
        "weights/**/*.md",
        "**/*.j2",
        "**/*.css",
        "**/*.js",
    ):
        expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "lvcf").glob(pattern)}
    assert expected <= carried
    assert all(path.startswith("lvcf/") for path in carried)
