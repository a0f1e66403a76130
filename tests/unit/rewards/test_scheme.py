"""Canonical parameters, revisions, and schemes from outside the tree."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.rewards.pplns import SCHEME
from pithead.rewards.scheme import (
    PARAMETERS_BYTES_MAX,
    ConservedMoneyViolated,
    ParametersRefused,
    RewardScheme,
    Split,
    SplitShare,
    UnknownMethod,
    canonical,
    parse_canonical,
    revision_of,
    scheme_for,
    schemes,
)

pytestmark = pytest.mark.gate

PPLNS = '{"fee_ppm":10000,"method":"PPLNS","window":{"factor_ppm":2000000}}'

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_canonical_text_is_read_as_it_was_written(document: dict[str, object]) -> None:
    assert parse_canonical(canonical(document)) == document


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"b":1,"a":2}', id="unsorted"),
        pytest.param('{"a": 1}', id="a space"),
        pytest.param('{"a":1,"a":1}', id="a key twice"),
        pytest.param('{"a":1.0}', id="a fraction"),
        pytest.param('{"a":1e3}', id="an exponent"),
        pytest.param('{"a":NaN}', id="no number"),
        pytest.param('{"a":"\u00e9"}', id="not ascii"),
        pytest.param("[]", id="a list"),
        pytest.param("{", id="cut off"),
        pytest.param("", id="empty"),
        pytest.param("[" * 5000, id="deep"),
        pytest.param("\n" + PPLNS, id="a newline"),
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParametersRefused):
        parse_canonical(text)


def test_parameters_have_a_size_limit() -> None:
    def sized(size: int) -> str:
        return '{"a":"' + "x" * (size - 8) + '"}'

    parse_canonical(sized(PARAMETERS_BYTES_MAX))
    with pytest.raises(ParametersRefused):
        parse_canonical(sized(PARAMETERS_BYTES_MAX + 1))


def test_a_revision_is_the_sha256_of_the_canonical_text() -> None:
    assert revision_of(PPLNS) == hashlib.sha256(PPLNS.encode()).hexdigest()


def test_pplns_is_found_by_its_method() -> None:
    assert scheme_for("PPLNS") is SCHEME


def test_an_unknown_method_lists_what_there_is() -> None:
    with pytest.raises(UnknownMethod, match="PPLNS"):
        scheme_for("PPS9")


def test_money_that_does_not_add_up_is_refused() -> None:
    good = Split(10, 0, 1, 2, (SplitShare(1, 7, 1),))
    good.check()
    for bad in (
        Split(11, 0, 1, 2, (SplitShare(1, 7, 1),)),
        Split(10, 0, 1, 2, (SplitShare(1, 8, 1), SplitShare(2, -1, 1))),
        Split(10, 0, -1, 4, (SplitShare(1, 7, 1),)),
    ):
        with pytest.raises(ConservedMoneyViolated):
            bad.check()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed distribution that is not part of this tree."""
    (tmp_path / "solo_scheme.py").write_text(
        "from pithead.rewards.scheme import Split, SplitShare\n"
        "class Bound:\n"
        "    def window_weight(self, expected_hashes, shift):\n"
        "        return 1\n"
        "    def split(self, value, carried, window):\n"
        "        return Split(value, carried, 0, 0, (SplitShare(1, value + carried, 1),))\n"
        "class Solo:\n"
        "    method = 'TESTSOLO'\n"
        "    def bind(self, parameters):\n"
        "        return Bound()\n"
        "SCHEME = Solo()\n"
    )
    info = tmp_path / "outside_scheme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-scheme\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pithead.schemes]\nTESTSOLO = solo_scheme:SCHEME\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    schemes.cache_clear()
    yield tmp_path
    schemes.cache_clear()
    sys.modules.pop("solo_scheme", None)


def test_a_scheme_from_outside_the_tree_is_loaded(outside: Path) -> None:
    scheme = scheme_for("TESTSOLO")
    assert isinstance(scheme, RewardScheme)
    assert sys.modules["solo_scheme"].__file__ == str(outside / "solo_scheme.py")
    split = scheme.bind("{}").split(5, 0, object())  # type: ignore[arg-type]  # it ignores windows
    split.check()


def test_an_entry_point_that_is_no_scheme_is_refused(outside: Path) -> None:
    info = outside / "outside_scheme-1.dist-info" / "entry_points.txt"
    info.write_text("[pithead.schemes]\nOTHER = solo_scheme:SCHEME\n")
    schemes.cache_clear()
    with pytest.raises(TypeError, match="OTHER"):
        schemes()
