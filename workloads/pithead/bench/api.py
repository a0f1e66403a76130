"""Charts and worker tables over gRPC: times of answers at a rate of requests.

A store of chdb holds a month of shares of one account with all its workers. A process
of its own serves the contract; this one asks. Measured are a 30-day chart of a worker
chosen by chance, and a page of the table of all workers in a changing order, half of
them with a search; first one at a time, then mixed, at a rate that does not wait for
answers: a time counts from when the request was due, so that a stall counts for all
requests that it held up. The figure for a table that nobody has asked for yet stands
apart. The baseline asks for a ready-made answer of a chart's size.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from pithead.bench.chart_load import POOL, Load, Loaded, loaded, names_of
from pithead.bench.chart_server import READY
from pithead.bench.result import Fact, Result
from pithead.config import PeerSettings, unix_address
from pithead.contracts import analytics_pb2 as contract
from pithead.contracts import analytics_pb2_grpc
from pithead.rpc import channel

START_S = 60
SEED = 7

Ask = Callable[[], Awaitable[object]]


class Broken(Exception):
    """Raised when an answer is not what was asked for: no figure is worth anything."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """How the store is asked."""

    rate: int
    """Requests a second."""
    seconds: float
    alone: int = 200
    """Requests of each kind that are asked one at a time, before."""


def run(load: Load, traffic: Traffic, keep: Path | None = None) -> Result:
    """Measure; the store is kept in `keep` and taken from there by a later run of this load."""
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as folder:
        return asyncio.run(_run(load, traffic, keep or Path(folder) / "store", Path(folder)))


async def _run(load: Load, traffic: Traffic, directory: Path, folder: Path) -> Result:
    store = await loaded(load, directory)
    async with _serving(directory, store, folder / "api.sock") as (opened, pid):
        asking = _Asking(opened, load, store)
        figures: dict[str, Fact] = {
            "load_s": round(store.seconds, 1),
            "load_cpu_s": round(store.cpu_s, 1),
        }
        figures |= _times("first_page", [await _timed(asking.page)])
        figures |= _times("chart_alone", [await _timed(asking.chart) for _ in range(traffic.alone)])
        figures |= _times("page_alone", [await _timed(asking.page) for _ in range(traffic.alone)])
        cpu = _cpu_s(pid)
        charts, pages, refused = await _mixed(asking, traffic)
        cpu_s = _cpu_s(pid) - cpu
        figures |= _times("chart_mixed", charts) | _times("page_mixed", pages)
        figures["refused"] = refused
        asked = len(charts) + len(pages)
        cpu = _cpu_s(pid)
        ready: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(READY)
        for _ in range(asked):
            await ready(b"")
        baseline_cpu_s = _cpu_s(pid) - cpu
    return Result(
        benchmark="api",
        setup={
            "store": "chdb",
            "shares": load.shares,
            "workers": load.workers,
            "days": 30,
            "rate_per_s": traffic.rate,
            "seconds": traffic.seconds,
        },
        figures=figures,
        unit="requests",
        cpu_s=cpu_s,
        per_cpu_s=asked / max(cpu_s, 0.01),
        baseline="as many calls answered with ready-made bytes, one at a time",
        baseline_cpu_s=baseline_cpu_s,
        baseline_per_cpu_s=asked / max(baseline_cpu_s, 0.01),
    )


class _Asking:
    """Requests, one after the other different, and checked answers."""

    def __init__(self, opened: grpc.aio.Channel, load: Load, store: Loaded) -> None:
        self._stub = analytics_pb2_grpc.AnalyticsStub(opened)
        self._chance = random.Random(SEED)  # noqa: S311 - requests that are the same each run
        self._names = names_of(load)
        self._account = contract.Subject(pool=POOL, account=store.account)
        self._pages = 0

    async def chart(self) -> None:
        """A chart of 30 days of one worker."""
        subject = contract.Subject()
        subject.CopyFrom(self._account)
        subject.worker = self._chance.choice(self._names)
        reply = await self._stub.Hashrate(
            contract.HashrateRequest(subject=subject, span=contract.SPAN_30D)
        )
        if not sum(reply.series[0].shares):
            raise Broken(f"worker {subject.worker} has no shares in 30 days")

    async def page(self) -> None:
        """A page of all workers, or of those of one farm."""
        self._pages += 1
        number = self._pages
        search = f"FARM{number % 40}-" if number % 2 == 0 else ""
        sorts = contract.WorkerSort.values()
        reply = await self._stub.Workers(
            contract.WorkersRequest(
                subject=self._account,
                search=search,
                sort=sorts[number % len(sorts)],
                descending=number % 3 == 0,
                offset=self._chance.randrange(4) * 50,
                limit=50,
            )
        )
        expected = sum(name.startswith(search.lower()) for name in self._names)
        if reply.total != expected:
            raise Broken(f"{reply.total} workers where {expected} match {search!r}")


async def _mixed(asking: _Asking, traffic: Traffic) -> tuple[list[float], list[float], int]:
    """Ask for both in turn, each when it is due; return times of charts and pages, and refusals."""
    kinds: tuple[Ask, Ask] = (asking.chart, asking.page)
    times: tuple[list[float], list[float]] = ([], [])
    refused = 0
    start_s = time.perf_counter()

    async def one(number: int) -> None:
        nonlocal refused
        due_s = start_s + number / traffic.rate
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        try:
            await kinds[number % 2]()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            refused += 1
        times[number % 2].append(time.perf_counter() - due_s)

    async with asyncio.TaskGroup() as group:
        for number in range(int(traffic.rate * traffic.seconds)):
            group.create_task(one(number))
    return *times, refused


@asynccontextmanager
async def _serving(
    directory: Path, store: Loaded, socket: Path
) -> AsyncIterator[tuple[grpc.aio.Channel, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pithead.bench.chart_server",
        str(directory),
        str(store.end_s),
        str(socket),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    opened = channel(PeerSettings(address=unix_address(socket)))
    try:
        async with asyncio.timeout(START_S):
            if not await process.stdout.readline():
                raise Broken("the serving process did not start")
        yield opened, process.pid
    finally:
        await opened.close()
        process.stdin.close()
        try:
            async with asyncio.timeout(START_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _timed(ask: Ask) -> float:
    start_s = time.perf_counter()
    await ask()
    return time.perf_counter() - start_s


def _times(name: str, seconds: list[float]) -> dict[str, Fact]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return {
        f"{name}_p{part}_ms": round(
            ordered[min(len(ordered) - 1, len(ordered) * part // 100)] * 1e3, 2
        )
        for part in (50, 99)
    }


def _cpu_s(pid: int) -> float:
    """User and system time of a process with all its threads (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
