"""Blocks of columns to bytes and back."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pithead.store.columnar import Column
from pithead.store.columnar.native import TYPES, decode, encode

pytestmark = pytest.mark.gate


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Column]:
    rows = draw(st.integers(1, 20))
    kinds = draw(st.lists(st.sampled_from([*TYPES, "String"]), min_size=1, max_size=6))
    found: dict[str, Column] = {}
    for index, kind in enumerate(kinds):
        if kind == "String":
            texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
            found[f"c{index}"] = draw(st.lists(texts, min_size=rows, max_size=rows))
            continue
        dtype = np.dtype(TYPES[kind])
        if dtype.kind == "f":
            numbers: st.SearchStrategy[float] = st.floats(allow_nan=False)
        else:
            bounds = np.iinfo(dtype)
            numbers = st.integers(int(bounds.min), int(bounds.max))
        found[f"c{index}"] = np.array(draw(st.lists(numbers, min_size=rows, max_size=rows)), dtype)
    return found


@given(st.lists(columns(), min_size=1, max_size=1), st.integers(1, 3))
def test_what_was_encoded_is_decoded_to_the_bit(made: list[dict[str, Column]], times: int) -> None:
    (given_columns,) = made
    answer = decode(encode(given_columns) * times)
    assert answer.names == tuple(given_columns)
    assert len(answer) == times * len(next(iter(given_columns.values())))
    for name, column in given_columns.items():
        found = answer[name]
        if isinstance(column, np.ndarray):
            assert isinstance(found, np.ndarray)
            assert found.dtype == column.dtype
            assert np.array_equal(found, np.tile(column, times))
        else:
            assert found == column * times


def test_nothing_is_no_rows() -> None:
    assert len(decode(b"")) == 0


def test_a_type_that_does_not_pass_the_door_is_named() -> None:
    block = b"\x01\x01\x01x\x0eDateTime('UTC')\x00\x00\x00\x00"
    with pytest.raises(TypeError, match=r"column x is DateTime"):
        decode(block)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        encode({"a": np.zeros(2, np.uint8), "b": ["x"]})
