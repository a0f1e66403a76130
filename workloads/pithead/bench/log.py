"""The share log's part of a miner's wait: how long an append of a batch takes until it is durable.

Each log is measured twice. *Ordinary*: small batches at a steady rate, timed from
when they were due, so that a late one counts its waiting. *Loaded*: full batches one
after the other, as an edge writes them at its limit. The spool is measured before a
log that is away. The baseline writes and syncs the same bytes of the loaded run
into one plain file; its ratio is that of FileLog under load.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from pithead.bench.result import Fact, Result
from pithead.config import KafkaSettings, TopicSettings
from pithead.contracts.share_log_pb2 import Segment, ShareBatch
from pithead.log.codec import encode_batch
from pithead.log.file_log import FileLog
from pithead.log.kafka_log import KafkaLog
from pithead.log.share_log import LogWriter
from pithead.log.spooled import SpooledLog
from pithead.log.topics import kafka_topic, shares_topic
from pithead.log.topics_admin import delete_topics, ensure_topics

POOL = "bench.log"
TOPIC = shares_topic(POOL)
PARTITION = "0"
PRODUCER = bytes(16)
NOBODY = KafkaSettings(bootstrap_servers=("127.0.0.1:1",))
"""Where no broker listens: the log that is away."""

ORDINARY_SHARES = 30
LOADED_SHARES = 512
"""An edge closes a batch at so many."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is appended."""

    seconds: float
    """Of each of the two runs of each log."""
    rate: int
    """Ordinary batches a second."""


@dataclass(frozen=True, slots=True)
class _Run:
    waits_s: Sequence[float]
    cpu_s: float

    def at(self, part: float) -> float:
        """Milliseconds within which this part of the appends was durable."""
        ordered = sorted(self.waits_s)
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000, 3)


def run(load: Load, kafka: str = "") -> Result:
    """Measure; `kafka` is the `host:port` of a broker, in which a topic is made and deleted."""
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as folder:
        return asyncio.run(_run(load, kafka, Path(folder)))


async def _run(load: Load, kafka: str, folder: Path) -> Result:
    figures: dict[str, Fact] = {}
    loaded = await _measured(load, await FileLog(folder / "log").writer(TOPIC, PARTITION), figures)
    async with AsyncExitStack() as stack:
        spooled = SpooledLog(
            KafkaLog(NOBODY),
            folder / "spool",
            PRODUCER,
            (TOPIC,),
            partition=PARTITION,
            bytes_max=1 << 40,
        )
        stack.push_async_callback(spooled.close)
        await _measured(load, await spooled.writer(TOPIC, PARTITION), figures, "spool")
    if kafka:
        settings = KafkaSettings(bootstrap_servers=(kafka,))
        wanted = TopicSettings(name=kafka_topic(TOPIC), partitions=1, replicas=1)
        await ensure_topics(settings, [wanted])
        try:
            writer = await KafkaLog(settings).writer(TOPIC, PARTITION)
            await _measured(load, writer, figures, "kafka")
        finally:
            await delete_topics(settings, [wanted.name])
    appends = len(loaded.waits_s)
    baseline_cpu_s = _plain(folder / "plain", appends)
    return Result(
        benchmark="log",
        setup={
            "seconds": load.seconds,
            "ordinary_batches_per_s": load.rate,
            "ordinary_bytes": len(_payload(0, ORDINARY_SHARES)),
            "loaded_bytes": len(_payload(0, LOADED_SHARES)),
            "kafka": bool(kafka),
        },
        figures=figures,
        unit="appends",
        cpu_s=loaded.cpu_s,
        per_cpu_s=appends / loaded.cpu_s,
        baseline="writing and syncing the same bytes into one file",
        baseline_cpu_s=baseline_cpu_s,
        baseline_per_cpu_s=appends / baseline_cpu_s,
    )


async def _measured(
    load: Load, writer: LogWriter, figures: dict[str, Fact], name: str = "file"
) -> _Run:
    """Take both runs of a log into the figures; return the loaded one."""
    try:
        runs = {"ordinary": await _ordinary(load, writer), "loaded": await _loaded(load, writer)}
    finally:
        await writer.close()
    for kind, taken in runs.items():
        figures[f"{name}_{kind}_appends"] = len(taken.waits_s)
        figures[f"{name}_{kind}_p50_ms"] = taken.at(0.50)
        figures[f"{name}_{kind}_p99_ms"] = taken.at(0.99)
        figures[f"{name}_{kind}_cpu_us"] = round(taken.cpu_s / len(taken.waits_s) * 1e6)
    return runs["loaded"]


async def _ordinary(load: Load, writer: LogWriter) -> _Run:
    number = max(1, int(load.seconds * load.rate))
    payloads = [_payload(sequence, ORDINARY_SHARES) for sequence in range(number)]
    waits = []
    cpu, began = time.process_time(), time.perf_counter()
    for sequence, payload in enumerate(payloads):
        due = began + sequence / load.rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await writer.append(payload)
        waits.append(time.perf_counter() - due)
    return _Run(waits, time.process_time() - cpu)


async def _loaded(load: Load, writer: LogWriter) -> _Run:
    payload = _payload(0, LOADED_SHARES)
    waits: list[float] = []
    cpu, began = time.process_time(), time.perf_counter()
    while not waits or time.perf_counter() - began < load.seconds:
        started = time.perf_counter()
        await writer.append(payload)
        waits.append(time.perf_counter() - started)
    return _Run(waits, time.process_time() - cpu)


def _plain(path: Path, appends: int) -> float:
    """CPU seconds of writing and syncing so many loaded batches."""
    payload = _payload(0, LOADED_SHARES)
    cpu = time.process_time()
    with path.open("wb", buffering=0) as file:
        for _ in range(appends):
            file.write(payload)
            os.fdatasync(file.fileno())
    return time.process_time() - cpu


def _payload(sequence: int, shares: int) -> bytes:
    return encode_batch(
        ShareBatch(
            producer=PRODUCER,
            sequence=sequence,
            promise=20,
            pool=POOL,
            coin="devchain/regtest",
            region="bench",
            time_base_ms=sequence,
            segments=[Segment(parent=bytes(32), height=20, bits=0x1F00FFFF, value=5_000_000_000)],
            account=[f"account-of-forty-two-characters-{number:010d}" for number in range(shares)],
            worker=["rig"] * shares,
            slot=[0] * shares,
            best=[8] * shares,
            login=range(shares),
            segment=[0] * shares,
            weight=[8] * shares,
            time_offset_ms=[0] * shares,
            serial=[1] * shares,
            flags=[0] * shares,
        )
    )
