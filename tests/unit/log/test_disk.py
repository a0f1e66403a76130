"""The system's disk: all bytes or an error."""

import os
from pathlib import Path

import pytest

from pithead.log.disk import SystemDisk, sync_directory

pytestmark = pytest.mark.gate


def test_writes_go_where_they_are_told_and_truncation_cuts(tmp_path: Path) -> None:
    disk = SystemDisk()
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    disk.write(descriptor, b"abcdef", 0)
    disk.write(descriptor, b"XY", 2)
    disk.sync(descriptor)
    assert path.read_bytes() == b"abXYef"
    disk.truncate(descriptor, 3)
    assert path.read_bytes() == b"abX"
    os.close(descriptor)


def test_a_partial_write_is_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, bytes(data[:3]), at))
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    SystemDisk().write(descriptor, b"0123456789", 1)
    os.close(descriptor)
    assert path.read_bytes() == b"\x000123456789"


def test_only_a_directory_is_synced_as_one(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(file)
