"""A private litecoind in regtest: for tests, and as a wrapper around a command.

    python -m tests.support.litecoind --datadir D --rpcport P -- COMMAND...

starts the node with user and password `pithead`, runs COMMAND, and stops the node after it.

Two habits of the node are met here. It gives no templates without a peer: a bare TCP connection to
its P2P port counts as one, as long as it stays open. And it gives none in initial block download,
which a fresh chain is in until its first block: one block is mined to nobody. MWEB is kept away, or
mining would stop at height 432. A long poll holds one of the node's RPC threads even when its asker
was killed, so it gets more than the four of its default.
"""

import argparse
import asyncio
import hmac
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pithead.coins.node import NodeAddress, NodeError, NodeSyncing, NodeUnreachable, RpcNode

USER = "pithead"
PASSWORD = "pithead"
START_TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 20.0
RPC_THREADS = 32

NOBODY = "rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5"
"""P2WPKH of twenty zero bytes in Litecoin's regtest."""


EDGE_METHODS = (
    "getbestblockhash",
    "getblock",
    "getblockchaininfo",
    "getblockhash",
    "getblockheader",
    "getblocktemplate",
    "submitblock",
)
"""What an edge asks of a node: nothing that spends."""


@dataclass(frozen=True)
class RpcUser:
    """A further user of a node's RPC, who may call these methods only."""

    name: str
    password: str
    methods: tuple[str, ...]

    def arguments(self) -> list[str]:
        """The node's options for this user; it is given a salted hash, not the password."""
        salt = secrets.token_hex(16)
        digest = hmac.digest(salt.encode(), self.password.encode(), "sha256").hex()
        return [
            f"-rpcauth={self.name}:{salt}${digest}",
            f"-rpcwhitelist={self.name}:{','.join(self.methods)}",
        ]


def free_port() -> int:
    """A TCP port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Litecoind:
    """One node in `datadir`; `await start()` returns when templates can be had.

    It listens on `host`, for any client when that is not the loopback. The user `pithead` may do
    everything, further `users` what they are given.
    """

    def __init__(
        self,
        datadir: Path,
        *,
        rpc_port: int | None = None,
        host: str = "127.0.0.1",
        users: Sequence[RpcUser] = (),
    ) -> None:
        self.datadir = datadir
        self.host = host
        self.users = tuple(users)
        self.rpc_port = rpc_port or free_port()
        self.p2p_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._peer: socket.socket | None = None

    @property
    def url(self) -> str:
        """RPC address."""
        return f"http://{self.host}:{self.rpc_port}"

    @property
    def access(self) -> NodeAddress:
        """How to reach it."""
        return NodeAddress("litecoind", self.url, USER, PASSWORD)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    async def __aenter__(self) -> "Litecoind":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    def command(self) -> list[str]:
        """The command line."""
        return [
            "litecoind",
            "-regtest",
            f"-datadir={self.datadir}",
            "-server",
            "-listen=1",
            f"-bind=127.0.0.1:{self.p2p_port}",
            "-dnsseed=0",
            "-txindex",
            f"-rpcuser={USER}",
            f"-rpcpassword={PASSWORD}",
            f"-rpcport={self.rpc_port}",
            f"-rpcbind={self.host}",
            f"-rpcallowip={'127.0.0.1' if self.host == '127.0.0.1' else '0.0.0.0/0'}",
            # Users without a list of their own may call everything.
            "-rpcwhitelistdefault=0",
            *(option for user in self.users for option in user.arguments()),
            f"-rpcthreads={RPC_THREADS}",
            "-rpcworkqueue=128",
            "-fallbackfee=0.001",
            "-peertimeout=31536000",
            "-vbparams=mweb:9999999999:9999999999",
            "-printtoconsole=0",
        ]

    async def start(self) -> None:
        """Start it and wait until it gives templates; raises RuntimeError when it does not."""
        self.datadir.mkdir(parents=True, exist_ok=True)
        with (self.datadir / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # The Debian wrapper writes a configuration below HOME.
                env={**os.environ, "HOME": str(self.datadir)},
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S), RpcNode(self.access) as node:
                await self._wait(node)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(self.stop))
            if isinstance(error, TimeoutError | NodeError):
                raise RuntimeError(f"litecoind in {self.datadir} did not start: {error}") from error
            raise

    async def _wait(self, node: RpcNode) -> None:
        while True:
            if self._process is None or self._process.poll() is not None:
                said = (self.datadir / "output.log").read_text(errors="replace")[-500:]
                raise RuntimeError(f"litecoind ended at once: {said}")
            try:
                info = await node.chain_info()
                break
            except (NodeUnreachable, NodeSyncing):
                await asyncio.sleep(0.1)
        self._peer = socket.create_connection(("127.0.0.1", self.p2p_port), timeout=5)
        if info.ibd:
            await node.call("generatetoaddress", 1, NOBODY)
        while int((await node.call("getnetworkinfo"))["connections"]) < 1:
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Stop it by its pid: SIGTERM, and SIGKILL when that takes too long. May be repeated."""
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End it as a power cut of its process would; `start` may follow."""
        if self._process is not None:
            self._process.kill()
        self.stop()


async def run_command(datadir: Path, rpc_port: int, command: Sequence[str]) -> int:
    """Exit code of `command`, run while the node runs. Signals go on to the command."""
    async with Litecoind(datadir, rpc_port=rpc_port):
        child = await asyncio.create_subprocess_exec(*command)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _pass_on, child, number)
        return await child.wait()


def _pass_on(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if child.returncode is None:
        child.send_signal(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.litecoind")
    parser.add_argument("--datadir", type=Path, required=True)
    parser.add_argument("--rpcport", type=int, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        parser.error("a command is missing behind --")
    return asyncio.run(run_command(given.datadir.resolve(), given.rpcport, command))


if __name__ == "__main__":
    sys.exit(main())
