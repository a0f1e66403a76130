"""The durable mark: whole or nothing."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.log.disk import SystemDisk
from pithead.log.mark import DurableMark, decode_mark, encode_mark

pytestmark = pytest.mark.gate


@given(st.integers(0, (1 << 64) - 1))
def test_a_mark_comes_back(end: int) -> None:
    assert decode_mark(encode_mark(end)) == end


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 60), st.integers(1, 11))
def test_a_mixture_of_two_marks_is_never_read_as_a_third(old: int, new: int, cut: int) -> None:
    mixed = encode_mark(new)[:cut] + encode_mark(old)[cut:]
    assert decode_mark(mixed) in (None, old, new)


def test_zeros_and_cut_marks_are_none() -> None:
    assert decode_mark(bytes(12)) is None
    assert decode_mark(struct.pack("<Q", 5)) is None


def test_a_reader_sees_what_the_writer_stored_through_its_open_file(tmp_path: Path) -> None:
    disk = SystemDisk()
    writer = DurableMark(tmp_path, writable=True)
    reader = DurableMark(tmp_path, writable=False)
    assert reader.load() is None
    for end in (0, 1, 1 << 40):
        writer.store(end, disk)
        assert reader.load() == end
    writer.sync(disk)
    writer.close()
    reader.close()


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DurableMark(tmp_path, writable=False)
    assert list(tmp_path.iterdir()) == []
