"""Starts, signals and finds the bed's processes; they outlive the one that started them.

Each process has a file with its pid and start time, so that a reused pid is never taken for ours,
a log file, and a mark in its environment that its children inherit. What a crash has left behind is
found by that mark alone.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.e2e.bed.machine import search_path
from tests.e2e.bed.waiting import until

MARK = "PITHEAD_BED_STATE"
"""Variable in the environment of all processes of a bed; its value is the state folder."""

ROOT = Path(__file__).resolve().parents[3]
"""The repository, from which a helper process finds this package."""

STOP_S_MAX = 15
"""After it a process that was asked to stop is killed."""


class Processes:
    """The processes of one state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._pids = state / "pid"
        self._logs = state / "log"

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a process by its full path, unless it runs."""
        if self.alive(name):
            return
        self._pids.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        pid = _spawn(
            command,
            {**os.environ, "PATH": search_path(), **(environment or {}), MARK: str(self.state)},
            stdin=(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            log=self.log(name),
        )
        record = {"pid": pid, "started": _started(pid)}
        (self._pids / f"{name}.json").write_text(json.dumps(record))

    def pid(self, name: str) -> int | None:
        """Return the pid of a process that runs, else None."""
        try:
            record = json.loads((self._pids / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        pid = int(record["pid"])
        _reap(pid)
        return pid if _started(pid) == record["started"] else None

    def alive(self, name: str) -> bool:
        """Tell whether a process runs (a stopped one does)."""
        return self.pid(name) is not None

    def names(self) -> list[str]:
        """Return the names of all that were started, running or not."""
        return sorted(path.stem for path in self._pids.glob("*.json"))

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal; a process that is gone is none to send to."""
        if pid := self.pid(name):
            _kill(pid, number)

    def stop(self, name: str, limit_s: float = STOP_S_MAX) -> None:
        """End a process: politely, then not."""
        self.signal(name, signal.SIGCONT)
        self.signal(name, signal.SIGTERM)
        deadline = time.monotonic() + limit_s
        while self.alive(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.kill(name)

    def kill(self, name: str) -> None:
        """End a process at once, and wait until it is gone."""
        self.signal(name, signal.SIGKILL)
        until(f"the end of {name}", lambda: not self.alive(name), limit_s=10, every_s=0.02)

    def log(self, name: str) -> Path:
        """Return the file that a process writes to."""
        return self._logs / f"{name}.log"

    def tail(self, name: str, lines: int = 25) -> str:
        """Return the end of a process's log under a heading."""
        state = "running" if self.alive(name) else "not running"
        try:
            with self.log(name).open("rb") as file:
                file.seek(max(0, self.log(name).stat().st_size - 64 * 1024))
                said = file.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            said = ["(no log)"]
        return "\n".join([f"--- {name} ({state}), {self.log(name)}", *said])

    def guard(self) -> int:
        """Start a process that clears this state folder when the caller is gone.

        Returns the end of a pipe; closing it, or dying, sets the guard to work.
        """
        reader, writer = os.pipe()
        _spawn(
            [sys.executable, "-m", "tests.e2e.bed.processes", str(self.state)],
            {**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=(os.POSIX_SPAWN_DUP2, reader, 0),
            log=Path(os.devnull),
        )
        os.close(reader)
        return writer


def marked(state: Path) -> list[int]:
    """Return the pids of all processes that carry the mark of a state folder."""
    wanted = f"{MARK}={state}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in variables:
                found.append(int(entry.name))
    return found


def end_all(pids: Sequence[int], limit_s: float = STOP_S_MAX) -> None:
    """Kill processes and wait until they are gone."""
    for pid in pids:
        _kill(pid, signal.SIGKILL)

    def gone() -> bool:
        for pid in pids:
            _reap(pid)
        return not any(_started(pid) for pid in pids)

    until(f"the end of {list(pids)}", gone, limit_s=limit_s, every_s=0.02)


def _spawn(
    command: Sequence[str], environment: dict[str, str], *, stdin: tuple[object, ...], log: Path
) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        command[0],
        list(command),
        environment,
        file_actions=[
            stdin,
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        # A session of its own: a person's Ctrl-C is not for it.
        setsid=True,
    )


def _kill(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _started(pid: int) -> int | None:
    """Return the start time of a process in ticks since boot; None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in brackets and may itself hold some.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def main(state: Path) -> None:
    """Wait for the end of the one who holds the other end of standard input, then clear up."""
    while os.read(0, 4096):
        pass
    end_all(marked(state))
    shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
