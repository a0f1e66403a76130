"""Builders for the edge's tests: templates, books, miners that hash, a log that can fail."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pithead.coins.job import pool_tag
from pithead.coins.notify import NotifiedJob, parse_notify
from pithead.coins.registry import chain_params
from pithead.coins.template import Template
from pithead.coins.weight import bits_to_target
from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.codec import decode_batch
from pithead.stratum.jobs import JobBook

DEVCHAIN = chain_params("devchain", "regtest")
LITECOIN = chain_params("litecoin", "regtest")
SALT = bytes(range(16))
POOL = "default.test"
SCRIPT = bytes.fromhex("0014") + bytes(20)
EASY_BITS = 0x207FFFFF
HARD_BITS = 0x1D00FFFF
"""Difficulty 1: no test ever solves a block of it."""


def parent_of(height: int) -> bytes:
    return height.to_bytes(32, "little")


def template(height: int = 101, bits: int = HARD_BITS, **changes: Any) -> Template:
    base = Template(
        height=height,
        parent=parent_of(height - 1),
        version=0x20000000,
        bits=bits,
        target=bits_to_target(bits),
        time=1_800_000_000,
        min_time=1_799_999_000,
        coinbase_value=50 * 10**8,
        transactions=(),
    )
    return replace(base, **changes)


def book() -> JobBook:
    return JobBook(DEVCHAIN, SCRIPT, pool_tag(POOL), SALT)


def parse_lines(data: bytes) -> list[dict[str, Any]]:
    assert not data or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def notified(message: dict[str, Any]) -> NotifiedJob:
    assert message["method"] == "mining.notify"
    return parse_notify(message["params"])


@dataclass
class Identity:
    producer: bytes = SALT
    pool: str = POOL
    coin: str = DEVCHAIN.key
    region: str = "eu"


@dataclass
class ScriptedWriter:
    """A log writer that is durable when the test says so, and fails when told to."""

    payloads: list[bytes] = field(default_factory=list)
    attempts: list[bytes] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[Exception] = field(default_factory=list)
    on_durable: Callable[[ShareBatch], None] | None = None
    closed: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def append(self, payload: bytes) -> int:
        self.attempts.append(payload)
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.payloads.append(payload)
        if self.on_durable is not None:
            self.on_durable(decode_batch(payload))
        return len(self.payloads)

    async def close(self) -> None:
        self.closed += 1

    @property
    def batches(self) -> list[ShareBatch]:
        return [decode_batch(payload) for payload in self.payloads]
