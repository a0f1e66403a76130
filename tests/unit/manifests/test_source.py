"""YAML with positions: what is read, what is refused, and that nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.manifests.source import (
    DEPTH_MAX,
    FILE_BYTES_MAX,
    NODES_MAX,
    Document,
    read_documents,
)

pytestmark = pytest.mark.gate


def read(text: str) -> Document:
    documents, problems = read_documents(text.encode(), "f.yaml")
    assert problems == []
    assert len(documents) == 1
    return documents[0]


def refusal(text: str | bytes) -> str:
    content = text if isinstance(text, bytes) else text.encode()
    _, problems = read_documents(content, "f.yaml")
    assert len(problems) == 1
    return str(problems[0])


def test_lines_of_keys_and_items_are_kept_across_documents() -> None:
    documents, problems = read_documents(b"a: 1\n---\n\nb:\n  c:\n    - x\n    - d: 2\n", "f.yaml")
    assert problems == []
    assert documents[1].value == {"b": {"c": ["x", {"d": 2}]}}
    assert documents[1].lines == {
        (): 4,
        ("b",): 4,
        ("b", "c"): 5,
        ("b", "c", 0): 6,
        ("b", "c", 1): 7,
        ("b", "c", 1, "d"): 7,
    }


def test_line_of_a_missing_field_is_that_of_what_holds_it() -> None:
    assert read("a:\n  b:\n    c: 1\n").line(("a", "b", "missing", 3)) == 2


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("Off", False),
        ("yes", True),
        ("'Off'", "Off"),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-12", -12),
        ("0x1f", 31),
        ("017", 15),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("127.0.0.1", "127.0.0.1"),
        ("'12'", "12"),
        ("0x", "0x"),
        ("9" * 101, "9" * 101),
    ],
    ids=str,
)
def test_plain_values_are_read_as_kubernetes_reads_them(written: str, value: Any) -> None:
    found = read(f"a: {written}\n").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_how_a_value_was_written_is_kept() -> None:
    assert read("a: Off\nb: 0.10\nc: text\n").texts == {("a",): "Off", ("b",): "0.10"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 'f.yaml:3: "a" is given twice; the first is in line 1'),
        ("a:\n  <<: {b: 1}\n", "f.yaml:2: merge keys (<<) are not read; write the fields out"),
        (
            "a: !!str 1\n",
            "f.yaml:1: the tag tag:yaml.org,2002:str is not read; write the plain value",
        ),
        (
            "a: !!python/name:os.system x\n",
            "f.yaml:1: the tag tag:yaml.org,2002:python/name:os.system is not read",
        ),
        ("1: a\n", 'f.yaml:1: "1" is no text; keys are texts, in quotes where needed'),
        ("[1]: a\n", "f.yaml:1: this is no text; keys are texts, in quotes where needed"),
        ("a: [1\nb: 2\n", "f.yaml:2: not YAML: while parsing a flow sequence, expected ',' or"),
        ("a:\n\tb: 1\n", "f.yaml:2: not YAML: while scanning for the next token, found character"),
        ("a: *gone\n", "f.yaml:1: not YAML: found undefined alias 'gone'"),
        ("a: \x07\n", "f.yaml:1: the character 0x7 is not allowed in YAML; remove it"),
        (b"a: 1\nb: \xff\n", "f.yaml:2: not UTF-8 text; save the file as UTF-8"),
    ],
    ids=[
        "key twice", "merge key", "tag", "python tag", "number key", "list key",
        "flow", "tab", "alias", "control character", "encoding",
    ],
)  # fmt: skip
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    assert refusal(text).startswith(message)


def test_alias_is_read_as_what_it_stands_for() -> None:
    assert read("a: &x {b: 1}\nc: *x\n").value == {"a": {"b": 1}, "c": {"b": 1}}


def test_small_file_cannot_become_a_large_one() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    assert f"more than {NODES_MAX} values" in refusal(bomb)


def test_alias_inside_its_own_anchor_is_refused() -> None:
    assert f"nested deeper than {DEPTH_MAX} levels" in refusal("a: &a [*a]\n")


def test_depth_is_bounded_on_both_sides() -> None:
    assert read("[" * DEPTH_MAX + "]" * DEPTH_MAX).value is not None
    for depth in (DEPTH_MAX + 1, 100_000):
        assert f"nested deeper than {DEPTH_MAX} levels" in refusal("[" * depth + "]" * depth)


def test_size_is_bounded_on_both_sides() -> None:
    fits = b"a: 1\n#".ljust(FILE_BYTES_MAX, b"x")
    assert read_documents(fits, "f.yaml")[1] == []
    assert f"larger than {FILE_BYTES_MAX} bytes" in refusal(fits + b"x")


def test_number_of_values_is_bounded() -> None:
    assert f"more than {NODES_MAX} values" in refusal("- x\n" * (NODES_MAX + 1))


def test_empty_documents_are_left_out() -> None:
    assert read_documents(b"---\n---\n# only a comment\n", "f.yaml") == ([], [])


def test_byte_order_mark_is_accepted() -> None:
    assert read("\ufeffa: 1\n").value == {"a": 1}


words = st.text(
    st.characters(max_codepoint=0xD7FF, exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(words, plain, min_size=1, max_size=4))
def test_json_is_read_back_as_it_was_written(value: dict[str, Any]) -> None:
    written = json.dumps(value, ensure_ascii=False, indent=1)
    documents, problems = read_documents(written.encode(), "f.yaml")
    assert problems == []
    assert documents[0].value == value


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(content: bytes) -> None:
    documents, problems = read_documents(content, "f.yaml")
    assert all(each.line(()) >= 1 for each in documents)
    assert all(str(each).startswith("f.yaml:") for each in problems)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`, \n\t?<0.~", max_size=60))
def test_no_yaml_like_text_makes_the_reader_raise(text: str) -> None:
    documents, problems = read_documents(text.encode(), "f.yaml")
    assert all(each.line(()) >= 1 for each in documents)
    assert all(str(each).startswith("f.yaml:") for each in problems)
