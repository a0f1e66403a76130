"""A real ClickHouse server for as long as a test run needs it.

Debian's is 18.16, the only server that its packages offer. It runs as any user from a
configuration of its own, on one address, and keeps what was acknowledged through SIGKILL.
"""

import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from pithead.store.columnar.server import Reach
from tests.support.postgresql import free_port

PROGRAM = "clickhouse-server"
START_LIMIT_S = 20.0
STOP_LIMIT_S = 20.0

CONFIG = """<yandex>
<logger><level>warning</level><console>1</console></logger>
<listen_host>{address}</listen_host>
<tcp_port>{port}</tcp_port>
<path>{directory}/data/</path>
<tmp_path>{directory}/tmp/</tmp_path>
<users_config>{directory}/users.xml</users_config>
<default_profile>default</default_profile>
<default_database>default</default_database>
<timezone>UTC</timezone>
<mark_cache_size>67108864</mark_cache_size>
</yandex>
"""

USERS = """<yandex>
<profiles><default><max_memory_usage>2000000000</max_memory_usage></default></profiles>
<users><default>
<password>{password}</password>
<networks><ip>{allowed}</ip></networks>
<profile>default</profile><quota>default</quota>
</default></users>
<quotas><default><interval>
<duration>3600</duration><queries>0</queries><errors>0</errors>
<result_rows>0</result_rows><read_rows>0</read_rows><execution_time>0</execution_time>
</interval></default></quotas>
</yandex>
"""


@dataclass
class ClickHouseServer:
    """One server over one directory, which is made when it is not there."""

    directory: Path
    password: str = ""
    port: int = 0
    address: str = "127.0.0.1"
    """Where it listens; beyond the loopback it lets in whoever has the password."""
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start, and wait until it answers; the port stays the same from then on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        config = CONFIG.format(port=self.port, directory=self.directory, address=self.address)
        (self.directory / "config.xml").write_text(config)
        allowed = self.address if self.address.startswith("127.") else "0.0.0.0/0"
        users = USERS.format(password=self.password, allowed=allowed)
        (self.directory / "users.xml").write_text(users)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "--config-file=config.xml"],
                cwd=self.directory,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until_s = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until_s:
                self.kill()
                text = (self.directory / "log").read_text(errors="replace")
                raise RuntimeError(f"{PROGRAM} does not start: {text[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, as a machine's failure would be."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop; a second call does nothing."""
        self._end(signal.SIGTERM)

    def reach(self, database: str) -> Reach:
        """How a door reaches one of its databases."""
        return Reach(self.address, self.port, database=database, password=self.password)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), 1):
                return True
        except OSError:
            return False
