"""The archive's format, against vectors and by property."""

import struct
from dataclasses import replace
from hashlib import sha256
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pithead.shares.archive.rows import (
    COLUMNS,
    GENESIS,
    Account,
    ArchiveDamaged,
    HeightRows,
    Names,
    Revision,
    Segment,
    canonical,
    chain_hash,
    compress,
    decode,
    decompress,
    empty_hash,
    encode,
    scheme_weights,
)

pytestmark = pytest.mark.gate

ACCOUNTS = {n: Account(bytes([9 - n]), bytes([9 - n]), f"miner{n}") for n in range(1, 5)}
REVISIONS = {n: Revision(n % 2, n, f"s{n % 2}", f"r{n}") for n in range(1, 4)}
SEGMENTS = {n: Segment(bytes([7 - n]) * 32, n, 1, "[]") for n in range(1, 4)}
NAMES = Names(ACCOUNTS, REVISIONS, SEGMENTS)
WEIGHTS = st.integers(1, 9) | st.integers((1 << 62), (1 << 63) - 1)
CELLS = st.dictionaries(
    st.tuples(
        st.sampled_from([0, 7]),
        st.integers(1, 3),
        st.integers(0, 1 << 38),
        st.integers(1, 3),
        st.integers(1, 4),
    ),
    st.tuples(WEIGHTS, st.integers(1, 1 << 40)),
    min_size=1,
    max_size=12,
)


def array(cells: dict[tuple[int, ...], tuple[int, int]]) -> NDArray[np.int64]:
    return np.array([(*key, *value) for key, value in cells.items()], np.int64)


def named(rows: HeightRows) -> list[tuple[object, ...]]:
    columns = [getattr(rows, name).tolist() for name in COLUMNS]
    return [
        (
            seal,
            rows.segments[segment],
            minute,
            rows.revisions[revision],
            rows.accounts[account],
            *sums,
        )
        for seal, segment, minute, revision, account, *sums in zip(*columns, strict=True)
    ]


def test_a_height_is_written_as_the_format_says() -> None:
    rows, _ = canonical(np.array([(0, 2, 5, 1, 3, 70, 4)], np.int64), NAMES)
    expected = (
        struct.pack("<I", 1)
        + b"\1\0\0\0\6"
        + b"\1\0\0\0\6"
        + b"\6\0\0\0miner3"
        + struct.pack("<IIQ", 1, 1, 1)
        + b"\2\0\0\0s1"
        + b"\2\0\0\0r1"
        + struct.pack("<I32sQI", 1, bytes([5]) * 32, 2, 1)
        + b"\2\0\0\0[]"
        + struct.pack("<I7q", 1, 0, 0, 5, 0, 0, 70, 4)
    )
    assert encode(rows) == expected
    message = b"pithead archive 1\n" + b"\1\0\0\0p" + struct.pack("<Q", 9) + GENESIS + expected
    assert chain_hash("p", 9, GENESIS, expected) == sha256(message).digest()


@given(CELLS, st.randoms(use_true_random=False), st.permutations(range(1, 5)))
def test_equal_cells_make_equal_bytes_in_any_order_and_under_any_ids(
    cells: dict[tuple[int, ...], tuple[int, int]], shuffle: Random, ids: list[int]
) -> None:
    rows, _ = canonical(array(cells), NAMES)
    other_ids = {number: ids[number - 1] * 10 for number in ACCOUNTS}
    moved = [(*key[:4], other_ids[key[4]], *value) for key, value in cells.items()]
    shuffle.shuffle(moved)
    accounts = {other_ids[number]: account for number, account in ACCOUNTS.items()}
    again, found = canonical(np.array(moved, np.int64), replace(NAMES, accounts=accounts))
    assert encode(again) == encode(rows)
    assert [accounts[number] for number in found.accounts] == list(rows.accounts)


@given(CELLS)
def test_rows_come_back_as_they_were(cells: dict[tuple[int, ...], tuple[int, int]]) -> None:
    rows, _ = canonical(array(cells), NAMES)
    assert sorted(named(rows)) == sorted(
        (seal, SEGMENTS[segment], minute, REVISIONS[revision], ACCOUNTS[account], *sums)
        for (seal, segment, minute, revision, account), sums in cells.items()
    )
    assert named(decode(decompress(compress(encode(rows))))) == named(rows)
    weights: dict[str, int] = {}
    for (_, _, _, revision, _), (weight, _) in cells.items():
        scheme = REVISIONS[revision].scheme
        weights[scheme] = weights.get(scheme, 0) + weight
    assert scheme_weights(rows) == weights


@given(CELLS, st.data())
def test_damaged_bytes_are_refused_or_hash_otherwise(
    cells: dict[tuple[int, ...], tuple[int, int]], data: st.DataObject
) -> None:
    body = encode(canonical(array(cells), NAMES)[0])
    place = data.draw(st.integers(0, len(body) - 1))
    damaged = bytearray(body)
    damaged[place] ^= data.draw(st.integers(1, 255))
    assert chain_hash("p", 1, GENESIS, bytes(damaged)) != chain_hash("p", 1, GENESIS, body)
    for bad in (bytes(damaged), body[:place], body + b"\0"):
        try:
            rows = decode(bad)
        except ArchiveDamaged:
            continue
        assert encode(rows) == bad


def test_a_body_that_is_cut_short_when_packed_is_refused() -> None:
    packed = compress(encode(canonical(np.array([(0, 2, 5, 1, 3, 70, 4)], np.int64), NAMES)[0]))
    for bad in (packed[:-1], packed + b"x", b"nonsense"):
        with pytest.raises(ArchiveDamaged):
            decompress(bad)


def test_a_run_of_empty_heights_hashes_as_its_heights_one_by_one() -> None:
    reached = GENESIS
    for height in range(5, 9):
        reached = chain_hash("p", height, reached, b"")
    assert empty_hash("p", 5, 8, GENESIS) == reached
    assert len(decode(b"")) == 0
