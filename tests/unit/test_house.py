"""Rules of the house that no linter knows."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.gate

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "workloads" / "pithead"
OPERATOR = ROOT / "operator" / "pithead_operator"

LINES_MAX = 500
"""A module beyond this answers for more than one thing."""

BANNED = {
    "TODO": "finish it or write an issue",
    "FIXME": "mend it",
    "XXX": "say it in a sentence",
    "HACK": "say why in a sentence",
    "NotImplementedError": "leave it out until it exists",
}


def sources() -> list[Path]:
    found = [*sorted(PACKAGE.rglob("*.py")), *sorted(OPERATOR.rglob("*.py"))]
    return [path for path in found if "contracts" not in path.parts]


def test_modules_stay_small() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    too_long = {name: size for name, size in sizes.items() if size > LINES_MAX}
    assert not too_long, f"split along a seam: {too_long}"


@pytest.mark.parametrize("word", BANNED)
def test_nothing_is_left_half_done(word: str) -> None:
    pattern = re.compile(rf"\b{word}\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, f"{word}: {BANNED[word]}: {found}"


def test_generated_contracts_are_those_of_the_protobuf_files(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("protos", ROOT / "tools" / "protos.py")
    assert spec is not None
    assert spec.loader is not None
    protos = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(protos)
    protos.generate(tmp_path)
    made = {path.name: path.read_text() for path in (tmp_path / "pithead" / "contracts").iterdir()}
    committed = {
        path.name: path.read_text() for path in (PACKAGE / "contracts").iterdir() if path.is_file()
    }
    assert committed == made, "run `make generate`"


def test_every_package_says_what_it_answers_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.name == "__init__.py"
        and path.parent.name not in {"migrations", "versions"}
        and not path.read_text().startswith('"""')
    ]
    assert not silent


def test_tests_mirror_the_packages() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"contracts"}
    tested = {path.name for path in (ROOT / "tests" / "unit").iterdir() if path.is_dir()}
    assert packages <= tested, "a package without tests of its own"
    packages = {path.parent.name for path in OPERATOR.glob("*/__init__.py")}
    tested = {path.name for path in (ROOT / "tests" / "unit" / "operator").iterdir()}
    assert packages <= tested, "a package of the operator without tests of its own"


def test_no_path_of_one_machine_is_committed() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pattern = re.compile(r"/(work|root|home)/[a-z]")
    found = [
        name
        for name in files
        if (ROOT / name).is_file()
        and name != "tests/unit/test_house.py"
        and pattern.search((ROOT / name).read_text(errors="replace"))
    ]
    assert not found


def test_documents_name_only_files_that_exist() -> None:
    documents = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]
    missing = []
    for document in documents:
        text = document.read_text()
        named = re.findall(r"`((?:tests|docs|examples|workloads|tools)/[\w./-]+)`", text)
        linked = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text)
        missing += [f"{document.name}: {name}" for name in named if not (ROOT / name).exists()]
        missing += [
            f"{document.name}: {name}" for name in linked if not (document.parent / name).exists()
        ]
    assert not missing
