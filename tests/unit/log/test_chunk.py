"""Frames and headers: what is whole is found, nothing else is."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.log.chunk import (
    CHUNK_FORMAT,
    FRAME_BYTES,
    HEADER_BYTES,
    MAGIC,
    base_of_name,
    check_header,
    chunk_name,
    frame,
    frame_size,
    header,
    record_size,
    whole_end,
    whole_frames,
)

pytestmark = pytest.mark.gate

positions = st.integers(0, (1 << 64) - (1 << 32))
payload_lists = st.lists(st.binary(max_size=60), max_size=8)


def framed(position: int, payloads: list[bytes]) -> tuple[bytes, list[int]]:
    """Return the bytes of records and the positions after each."""
    data, ends = b"", []
    for payload in payloads:
        data += frame(position + len(data), payload)
        ends.append(position + len(data))
    return data, ends


@given(positions, payload_lists)
def test_written_frames_are_read_back(position: int, payloads: list[bytes]) -> None:
    data, ends = framed(position, payloads)
    found = list(whole_frames(data, position))
    assert [data[f.start : f.stop] for f in found] == payloads
    assert [f.next_position for f in found] == ends
    assert len(data) == sum(map(frame_size, payloads))


@given(positions, payload_lists, st.data())
def test_a_cut_anywhere_leaves_exactly_the_records_before_it(
    position: int, payloads: list[bytes], draw: st.DataObject
) -> None:
    data, ends = framed(position, payloads)
    cut = draw.draw(st.integers(0, len(data)))
    expected = max((end for end in ends if end <= position + cut), default=position)
    assert whole_end(data[:cut], position) == expected


@given(positions, payload_lists.filter(bool), st.data())
def test_a_flipped_bit_ends_the_whole_records_before_it(
    position: int, payloads: list[bytes], draw: st.DataObject
) -> None:
    data, ends = framed(position, payloads)
    bit = draw.draw(st.integers(0, len(data) * 8 - 1))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    expected = max((end for end in ends if end <= position + bit // 8), default=position)
    assert whole_end(bytes(damaged), position) == expected


@given(positions, payload_lists.filter(bool), st.integers(1, 1 << 32))
def test_stale_bytes_of_another_position_are_no_records(
    position: int, payloads: list[bytes], distance: int
) -> None:
    data, _ = framed(position, payloads)
    assert whole_end(data, position + distance) == position + distance


@given(st.integers(0, 100), positions)
def test_a_run_of_zeros_is_no_record(size: int, position: int) -> None:
    assert whole_end(bytes(size), position) == position


@given(st.binary(max_size=300), positions)
def test_garbage_never_raises(data: bytes, position: int) -> None:
    assert position <= whole_end(data, position) <= position + len(data)


def test_a_cut_or_absurd_length_is_no_size() -> None:
    assert record_size(b"\x01\x00\x00\x00\x00\x00\x00") is None
    assert record_size(b"\xff" * FRAME_BYTES) is None
    assert record_size(frame(0, b"abc")) == FRAME_BYTES + 3


@given(st.integers(0, 10**20 - 1))
def test_a_chunk_name_states_its_base(base: int) -> None:
    assert base_of_name(chunk_name(base)) == base


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "durable",
        ".chunk",
        "1.chunk",
        "0" * 20,
        "0" * 20 + ".chunk.new",
        "²" * 20 + ".chunk",
    ],
)
def test_other_files_are_no_chunks(name: str) -> None:
    assert base_of_name(name) is None


def test_a_header_is_accepted_for_its_own_base_only() -> None:
    data = header(77)
    assert len(data) == HEADER_BYTES
    assert check_header(data, 77) is None
    problem = check_header(data, 78)
    assert problem is not None
    assert "states base 77" in problem.problem


@given(st.integers(0, HEADER_BYTES * 8 - 1))
def test_a_flipped_bit_in_a_header_is_seen(bit: int) -> None:
    damaged = bytearray(header(5))
    damaged[bit // 8] ^= 1 << bit % 8
    assert check_header(bytes(damaged), 5) is not None


@given(st.integers(0, HEADER_BYTES - 1))
def test_a_cut_header_is_seen(size: int) -> None:
    assert check_header(header(5)[:size], 5) is not None


def test_a_header_of_a_newer_format_names_it() -> None:
    checked = struct.pack("<8sIQ", MAGIC, CHUNK_FORMAT + 1, 5)
    problem = check_header(checked + zlib.crc32(checked).to_bytes(4, "little"), 5)
    assert problem is not None
    assert problem.found_format == CHUNK_FORMAT + 1
