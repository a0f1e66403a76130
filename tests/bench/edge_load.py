"""Load on one edge process over loopback: shares a server CPU-second, and answer times.

    python -m tests.bench.edge_load [--seconds 6] [--tls]

Set-up: a real edge process (uvloop, durable FileLog on the disk of the temporary
directory), a devchain node and the load in this process, sha256d with the node's
own template (no transactions: no merkle branches). Weight is 1, so every nonce is
a share and no work is spent on searching; every submit is a new header. Server
CPU is user + system time of the edge from /proc/PID/stat, first to last answer.
The load shares the machine's cores with the edge, so answer times are an upper
bound; the CPU figure does not depend on that. With `--tls` the same behind TLS 1.3
and an ECDSA certificate, handshakes not counted. Run by hand.
"""

import argparse
import asyncio
import os
import ssl
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
import uvloop

from pithead.coins.registry import chain_params
from tests.support.certificates import Authority
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.edge import EdgeProcess, address, edge_settings

PARAMS = chain_params("devchain", "regtest")
HARD_BITS = 0x1D00FFFF
"""Difficulty 1: no share solves a block."""
TICKS = os.sysconf("SC_CLK_TCK")


class Shape(NamedTuple):
    """How many connections, and how many submits each keeps in flight."""

    connections: int
    in_flight: int


SHAPES = (Shape(1000, 1), Shape(100, 8))


class Load(asyncio.Protocol):
    """One connection that answers each answer with the next share."""

    def __init__(self, number: int, in_flight: int, times: list[float]) -> None:
        self.user = address(PARAMS, number) + ".rig"
        self.in_flight = in_flight
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.running = False
        self.refused = 0
        self._times = times
        self._kept = b""
        self._sent: dict[int, float] = {}
        self._next = 0
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        # uvloop's transports do not derive from asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._say("a", "mining.subscribe", ["load"])
        self._say("b", "mining.authorize", [self.user, "x"])

    def begin(self) -> None:
        """Fill the pipe."""
        self.running = True
        self._transport.write(b"".join(self._share() for _ in range(self.in_flight)))

    def data_received(self, data: bytes) -> None:
        """Count answers; send as many new shares as were answered."""
        *lines, self._kept = (self._kept + data).split(b"\n")
        out = []
        now = time.perf_counter()
        for line in lines:
            if line.startswith(b'{"id":null'):
                self._notified(msgspec.json.decode(line))
            elif line.startswith(b'{"id":"'):
                continue
            else:
                number = int(line[6 : line.index(b",")])
                self._times.append(now - self._sent.pop(number))
                if b'"result":true' not in line:
                    self.refused += 1
                if self.running:
                    out.append(self._share())
                elif not self._sent:
                    self.done.set_result(None)
        if out:
            self._transport.write(b"".join(out))

    def _notified(self, message: dict[str, object]) -> None:
        if message["method"] == "mining.notify":
            params = message["params"]
            assert isinstance(params, list)
            self._head = f'","{params[0]}","'.encode()
            self._tail = f'","{params[7]}","00000000"]}}\n'.encode()
            if not self.ready.done():
                self.ready.set_result(None)

    def _share(self) -> bytes:
        number = self._next
        self._next += 1
        self._sent[number] = time.perf_counter()
        return b'{"id":%d,"method":"mining.submit","params":["%s%s%016x%s' % (
            number,
            self.user.encode(),
            self._head,
            number,
            self._tail,
        )

    def _say(self, name: str, method: str, params: list[str]) -> None:
        line = msgspec.json.encode({"id": name, "method": method, "params": params})
        self._transport.write(line + b"\n")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def measure(shape: Shape, seconds: float, *, tls: bool) -> str:
    """Load a fresh edge with one shape; returns a line of figures."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        async with DevchainTask(devchain_settings(data / "chain", bits=HARD_BITS)) as node:
            settings = edge_settings(data, PARAMS, node.access)
            files = Authority(data / "tls").leaf("edge", "127.0.0.1")
            listener = msgspec.structs.replace(
                settings.listeners[0], max_weight=1, tls=files if tls else None
            )
            trust = ssl.create_default_context(cafile=files.ca) if tls else None
            edge = EdgeProcess(msgspec.structs.replace(settings, listeners=(listener,)))
            await edge.start()
            try:
                return await _load(edge, listener.port, shape, seconds, trust)
            finally:
                edge.terminate()


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _load(
    edge: EdgeProcess, port: int, shape: Shape, seconds: float, trust: ssl.SSLContext | None
) -> str:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    loads: list[Load] = []
    empty = resident_bytes(edge.pid)
    for number in range(1, shape.connections + 1):
        new = partial(Load, number, shape.in_flight, times)
        _, load = await loop.create_connection(new, "127.0.0.1", port, ssl=trust)
        loads.append(load)
    for load in loads:
        await load.ready
    each = (resident_bytes(edge.pid) - empty) / shape.connections
    cpu, started = cpu_seconds(edge.pid), time.perf_counter()
    for load in loads:
        load.begin()
    await asyncio.sleep(seconds)
    for load in loads:
        load.running = False
    for load in loads:
        await load.done
    wall, cpu = time.perf_counter() - started, cpu_seconds(edge.pid) - cpu
    times.sort()
    shares = len(times)
    refused = sum(load.refused for load in loads)
    return (
        f"{shape.connections} x {shape.in_flight}: {shares / cpu:,.0f} shares/CPU-s, "
        f"{shares / wall:,.0f}/s wall, cpu {cpu / wall:.0%}, "
        f"p50 {1000 * times[shares // 2]:.1f} ms, p99 {1000 * times[shares * 99 // 100]:.1f} ms, "
        f"{shares} shares, {refused} refused, {each / 1024:.1f} KiB a connection"
    )


async def main() -> None:
    """Measure every shape."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=6.0)
    arguments.add_argument("--tls", action="store_true")
    options = arguments.parse_args()
    for shape in SHAPES:
        print(await measure(shape, options.seconds, tls=options.tls), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
