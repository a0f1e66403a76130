"""A real PostgreSQL server, and PgBouncer before one, for as long as a test run needs them.

The programs refuse to run as root; then they run as Debian's system user, and their
directories lie where that user may go. Settings favour speed over durability: what
a server of a test holds is worth nothing.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM_USER = "postgres"
SUPERUSER = "postgres"
START_LIMIT_S = 30.0
STOP_LIMIT_S = 20.0
LOG_CHARS = 4000

FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "shared_buffers": "32MB",
}
"""Settings of a server whose data nobody will miss."""


def postgresql_program(name: str) -> str | None:
    """Path of a server program: on PATH, or in the newest of Debian's directories."""
    found = shutil.which(name)
    if found is not None:
        return found
    versions = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3])
    )
    return str(versions[-1]) if versions else None


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def as_system_user() -> list[str]:
    """Words before a command so that it does not run as root."""
    if os.geteuid() != 0:
        return []
    ids = pwd.getpwnam(SYSTEM_USER)
    return ["setpriv", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}", "--clear-groups"]


def give_away(path: Path) -> None:
    """Let the system user own a file or directory."""
    if os.geteuid() == 0:
        shutil.chown(path, SYSTEM_USER, SYSTEM_USER)


@dataclass
class PostgresServer:
    """One server over one data directory, which is made when it is not there.

    Passwords are SCRAM's over TCP; `options` are settings of postgresql.conf. Every
    parent of `directory` must let the system user through.
    """

    directory: Path
    password: str
    address: str = "127.0.0.1"
    port: int = 0
    allowed: str = "127.0.0.1/32"
    """Clients that may log in, as a CIDR block."""
    options: dict[str, str] = field(default_factory=dict)
    dies_with_parent: bool = False
    """End with the process that started it, even when that is killed."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the parent of all its processes, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Make the data when there is none, start, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        give_away(self.directory)
        data = self.directory / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(data)
        if not self.port:
            self.port = free_port(self.address)
        command = [
            *as_system_user(),
            *(("setpriv", "--pdeathsig=INT") if self.dies_with_parent else ()),
            _required("postgres"),
            *("-D", str(data), "-p", str(self.port), "-h", self.address, "-k", str(self.directory)),
        ]
        for name, value in self.options.items():
            command += ["-c", f"{name}={value}"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory
            )
        self._wait()

    def stop(self, *, kill: bool = False) -> None:
        """Stop at once, breaking off what runs; `kill` as loss of power would."""
        if self._process is None:
            return
        if kill:
            # The children notice that their parent is gone.
            self._process.kill()
        else:
            self._process.send_signal(2)
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_LIMIT_S)
        self._process = None
        if kill:
            self._wait_for_children()

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str = "") -> str:
        """URL for our driver."""
        secret = password or self.password
        return f"postgresql+asyncpg://{user}:{secret}@{self.address}:{self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """The same over the server's own socket: the superuser, without a password."""
        return (
            f"postgresql+asyncpg://{SUPERUSER}@/{database}?host={self.directory}&port={self.port}"
        )

    def log_tail(self) -> str:
        """End of the server's log."""
        log = self.directory / "log"
        return log.read_text(errors="replace")[-LOG_CHARS:] if log.exists() else ""

    def _initialise(self, data: Path) -> None:
        secret = self.directory / "password"
        secret.write_text(self.password)
        give_away(secret)
        command = [
            *as_system_user(),
            *(_required("initdb"), "-D", str(data), "-N", "--locale=C", "-E", "UTF8"),
            *("-U", SUPERUSER, "--pwfile", str(secret), "-A", "scram-sha-256"),
        ]
        done = subprocess.run(
            command, capture_output=True, check=False, cwd=self.directory, timeout=60
        )
        secret.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stderr.decode(errors='replace')}")
        # Before the first start nothing reads it, so root may write it.
        (data / "pg_hba.conf").write_text(
            "local all all trust\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
            f"host all all {self.allowed} scram-sha-256\n"
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        ready = [_required("pg_isready"), "-q", "-h", str(self.directory), "-p", str(self.port)]
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if subprocess.run(ready, check=False, timeout=START_LIMIT_S).returncode == 0:
                return
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log_tail()}")

    def _wait_for_children(self) -> None:
        """A new server refuses the data while a child of the old one is alive."""
        deadline = time.monotonic() + STOP_LIMIT_S
        while time.monotonic() < deadline:
            attached = False
            for entry in Path("/proc").glob("[0-9]*/cwd"):
                try:
                    attached = attached or entry.readlink() == self.directory / "data"
                except OSError:
                    continue
            if not attached:
                return
            time.sleep(0.05)
        raise RuntimeError("children of a killed PostgreSQL do not end")


@dataclass
class PgBouncer:
    """A pooler in transaction mode; clients may use any database and user of the server."""

    directory: Path
    server: PostgresServer
    pool_size: int = 3
    port: int = 0
    users: dict[str, str] = field(default_factory=dict)
    """Passwords of the users that log in through it."""
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it takes connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        users = {SUPERUSER: self.server.password, **self.users}
        files = {
            "users.txt": "".join(f'"{user}" "{secret}"\n' for user, secret in users.items()),
            "pgbouncer.ini": "\n".join(
                [
                    "[databases]",
                    f"* = host={self.server.address} port={self.server.port}",
                    "[pgbouncer]",
                    "listen_addr = 127.0.0.1",
                    f"listen_port = {self.port}",
                    "unix_socket_dir =",
                    "auth_type = scram-sha-256",
                    f"auth_file = {self.directory / 'users.txt'}",
                    "pool_mode = transaction",
                    f"default_pool_size = {self.pool_size}",
                    "max_client_conn = 200",
                    # The server hands its sessions round as unfairly as it can.
                    "server_round_robin = 1",
                    "",
                ]
            ),
        }
        give_away(self.directory)
        for name, text in files.items():
            (self.directory / name).write_text(text)
            give_away(self.directory / name)
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise FileNotFoundError("pgbouncer")
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*as_system_user(), program, str(self.directory / "pgbouncer.ini")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"PgBouncer did not start:\n{(self.directory / 'log').read_text()}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_LIMIT_S)
            self._process = None

    def url(self, database: str, user: str = SUPERUSER, password: str = "") -> str:
        """URL for our driver."""
        secret = password or {SUPERUSER: self.server.password, **self.users}[user]
        return f"postgresql+asyncpg://{user}:{secret}@127.0.0.1:{self.port}/{database}"


def _required(name: str) -> str:
    program = postgresql_program(name)
    if program is None:
        raise FileNotFoundError(name)
    return program
