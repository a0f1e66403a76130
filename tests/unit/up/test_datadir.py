import os
import socket
from pathlib import Path

import pytest

from pithead.up.datadir import FORMAT, LONGEST_SOCKET_NAME, DataDir, DataDirError

pytestmark = pytest.mark.gate


def test_second_start_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    first = DataDir(tmp_path / "pool").open()
    with pytest.raises(DataDirError, match=r"in use by another `pithead up`: stop that one"):
        DataDir(tmp_path / "pool").open()
    first.close()
    DataDir(tmp_path / "pool").open().close()


def test_running_is_told_from_the_lock_alone(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "pool")
    assert not directory.is_running()
    directory.open()
    assert DataDir(tmp_path / "pool").is_running()
    directory.close()
    assert not DataDir(tmp_path / "pool").is_running()


def test_directory_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text(f"{FORMAT + 1}\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataDirError, match=r"newer Pithead .*: upgrade Pithead, or choose"):
        DataDir(tmp_path).open()
    assert sorted(tmp_path.iterdir()) == before


def test_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(DataDirError, match=r"not empty and not a Pithead data directory"):
        DataDir(tmp_path).open()


def test_damaged_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("one\n")
    with pytest.raises(DataDirError, match=r"'one' where a number is expected"):
        DataDir(tmp_path).open()


def test_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    path.write_text("")
    with pytest.raises(DataDirError, match=r"can not be used"):
        DataDir(path).open()


def test_sockets_of_a_long_path_fit_into_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-folder-name"] * 6)
    directory = DataDir(deep).open()
    path = directory.run / ("s" * LONGEST_SOCKET_NAME)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fsencode(path))
    path.unlink()
    directory.run.rmdir()
    directory.close()


def test_what_a_killed_runtime_left_is_not_taken_for_a_running_pool(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "pool").open()
    directory.runtime_file.write_text("{}")
    directory.note_start("waiting for the wallet")
    os.close(directory._lock)  # type: ignore[arg-type]  # as the kernel does for a killed process
    again = DataDir(tmp_path / "pool").open()
    assert not again.runtime_file.exists()
    assert not again.start_file.exists()
    again.close()


def test_secret_is_stable_for_a_purpose_and_private(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "pool").open()
    secret = directory.secret("demo keys")
    assert secret == directory.secret("demo keys")
    assert secret != directory.secret("node password")
    assert (directory.root / "secret").stat().st_mode & 0o077 == 0
    directory.close()
    assert DataDir(tmp_path / "pool").open().secret("demo keys") == secret
