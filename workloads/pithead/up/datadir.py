"""The data directory of a one-machine pool: layout, lock, version.

VERSION          format of the directory
lock             held by the running `pithead up`
secret           random seed of generated passwords and demo keys
db/*.db          one SQLite database a service
log/             the share log (see pithead.log)
node/            the built-in devchain
config/*.json    settings of each process, written at every start; applied.json: the manifests
run/             unix sockets and runtime.json
logs/*.log       what each process said
"""

import fcntl
import hashlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Self

FORMAT = 1
"""Raised whenever an older release could not read the directory any more."""

SOCKET_PATH_MAX = 107
"""sun_path of unix(7) holds 108 bytes with the closing zero."""

LONGEST_SOCKET_NAME = 48


class DataDirError(Exception):
    """Raised when a data directory can not be used; the text says why and what to do."""


class DataDir:
    """An opened data directory; `close` (or the context) releases its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock: int | None = None

    @property
    def databases(self) -> Path:
        """Folder of the SQLite databases."""
        return self.root / "db"

    @property
    def log(self) -> Path:
        """Root of the share log."""
        return self.root / "log"

    @property
    def node(self) -> Path:
        """Folder of built-in nodes."""
        return self.root / "node"

    @property
    def config(self) -> Path:
        """Folder of process settings."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        """Folder of what processes print."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Folder of sockets; a short one elsewhere when this path is too long for a socket."""
        run = self.root / "run"
        if len(os.fsencode(run)) + 1 + LONGEST_SOCKET_NAME <= SOCKET_PATH_MAX:
            return run
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"pithead-{os.getuid()}-{digest}"

    @property
    def applied_file(self) -> Path:
        """The manifests of the last accepted start; see `pithead.up.applied`."""
        return self.config / "applied.json"

    @property
    def runtime_file(self) -> Path:
        """What runs, for `pithead status`."""
        return self.root / "run" / "runtime.json"

    @property
    def start_file(self) -> Path:
        """What a start waits for, for `pithead status`."""
        return self.root / "run" / "starting.txt"

    def note_start(self, sentence: str) -> None:
        """Write down what the start waits for."""
        self.start_file.write_text(sentence)

    @property
    def facts_file(self) -> Path:
        """What services told at an earlier start."""
        return self.config / "facts.json"

    def is_running(self) -> bool:
        """Tell whether a `pithead up` holds the directory."""
        try:
            lock = os.open(self.root / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(lock)

    def check_version(self) -> None:
        """Refuse a directory of a newer release, or one that is not ours."""
        path = self.root / "VERSION"
        if not path.exists():
            foreign = [p.name for p in self.root.iterdir()] if self.root.exists() else []
            if foreign and set(foreign) != {"lock"}:
                raise DataDirError(
                    f"{self.root} is not empty and not a Pithead data directory: "
                    "choose another with --data DIR"
                )
            return
        text = path.read_text().strip()
        if not text.isdigit():
            raise DataDirError(
                f"{path} says {text[:40]!r} where a number is expected: restore the file "
                "from a backup or choose another directory with --data DIR"
            )
        if int(text) > FORMAT:
            raise DataDirError(
                f"{self.root} was written by a newer Pithead (data format {text}, this release "
                f"knows up to {FORMAT}): upgrade Pithead, or choose another directory with "
                "--data DIR; nothing was changed"
            )

    def open(self) -> Self:
        """Create what is missing and take the lock."""
        try:
            self.check_version()
            self.root.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirError(
                f"{self.root} can not be used: {error.strerror}: choose another directory "
                "with --data DIR"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise DataDirError(
                f"{self.root} is in use by another `pithead up`: stop that one, or start this "
                "pool with --data OTHER_DIR"
            ) from None
        self._lock = lock
        for folder in (self.databases, self.log, self.node, self.config, self.logs):
            folder.mkdir(mode=0o700, exist_ok=True)
        (self.root / "run").mkdir(mode=0o700, exist_ok=True)
        self.run.mkdir(mode=0o700, exist_ok=True)
        self._forget_runtime()
        version = self.root / "VERSION"
        if not version.exists():
            version.write_text(f"{FORMAT}\n")
        return self

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._forget_runtime()
            os.close(self._lock)
            self._lock = None

    def _forget_runtime(self) -> None:
        """Remove what tells of a run; one that was killed leaves it behind."""
        self.runtime_file.unlink(missing_ok=True)
        self.start_file.unlink(missing_ok=True)

    def secret(self, purpose: str) -> bytes:
        """Derive 32 bytes for one purpose from the directory's own random seed."""
        path = self.root / "secret"
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
        return hashlib.sha256(path.read_bytes() + purpose.encode()).digest()
