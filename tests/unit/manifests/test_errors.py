"""How problems print."""

import pytest

from pithead.manifests.errors import ManifestErrors, Problem, cut, path_text, shown

pytestmark = pytest.mark.gate


def test_problem_prints_on_one_line_in_the_documented_form() -> None:
    problem = Problem("a/pool.yaml", 12, "MiningPool/x", "spec.listeners[0].port", "is wrong")
    assert str(problem) == "a/pool.yaml:12: MiningPool/x: spec.listeners[0].port: is wrong"


def test_parts_that_do_not_apply_are_left_out() -> None:
    assert str(Problem("f", 0, "", "", "is empty")) == "f: is empty"
    assert str(Problem("f", 3, "", "", "not YAML")) == "f:3: not YAML"


def test_errors_print_every_problem() -> None:
    error = ManifestErrors([Problem("f", 1, "", "", "a"), Problem("f", 2, "", "", "b")])
    assert str(error) == "f:1: a\nf:2: b"
    assert len(error.problems) == 2


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("spec", "listeners", 0, "port"), "spec.listeners[0].port"),
        (("metadata", "annotations", "pithead.dev/x"), "metadata.annotations[pithead.dev/x]"),
        (("spec", "a\nb"), "spec[a\\nb]"),
        (("spec", ""), "spec[]"),
        ((), ""),
    ],
    ids=["list", "annotation", "control", "empty key", "root"],
)
def test_path_prints_as_people_write_it(path: tuple[str | int, ...], text: str) -> None:
    assert path_text(path) == text


def test_foreign_text_is_cut_and_escaped() -> None:
    assert shown("a\n" * 100).startswith('"a\\na\\n')
    assert len(shown("a" * 1000)) == 60
    assert cut("a" * 60) == "a" * 60
    assert cut("a" * 61) == "a" * 57 + "..."
    assert (shown({}), shown([1]), shown(None), shown(True)) == (
        "a mapping",
        "a list",
        "an empty value",
        "true",
    )
