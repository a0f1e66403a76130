"""Solved blocks: recorded durably, submitted everywhere, in an order that helps."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pithead.coins.hashing import block_hash
from pithead.coins.node import Submission
from pithead.coins.weight import target_of_weight
from pithead.log.codec import decode_block
from pithead.log.errors import LogBroken, LogFull
from pithead.log.share_log import LogWriter
from pithead.stratum import blocks as blocks_module
from pithead.stratum.blocks import BlockKeeper
from pithead.stratum.login import Login
from pithead.stratum.messages import SubmitAsked
from pithead.stratum.validation import Candidate, Sent, prepare
from tests.unit.stratum.support import EASY_BITS, Identity, ScriptedWriter, book, template

pytestmark = pytest.mark.gate

LOGIN = Login("addr", "w", 3)


def solve(nonce: int, height: int = 101) -> Candidate:
    works = book()
    variant = works.variant(works.add(template(height, bits=EASY_BITS), 0), 0)
    assert variant is not None
    sent = Sent(variant, 2, target_of_weight(2, 0))
    ntime = f"{template().time:08x}"
    share = SubmitAsked(b"1", "w", "0", "00" * 8, ntime, f"{nonce:08x}", "")
    candidate = prepare(works, sent, b"\x03\x00\x00\x00\x01", 0, share, 0)
    assert isinstance(candidate, Candidate)
    return candidate


@dataclass
class Nodes:
    """What nodes say of blocks, by a script: confirmations for each call."""

    verdicts: list[int | None] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self, block: bytes) -> Sequence[Submission]:
        self.blocks.append(block)
        await self.gate.wait()
        confirmations = self.verdicts.pop(0) if self.verdicts else 1
        return [Submission("n", block_hash(block[:80]), "word", confirmations)]


@asynccontextmanager
async def keeper(nodes: Nodes, log: ScriptedWriter) -> AsyncIterator[BlockKeeper]:
    async def open_writer() -> LogWriter:
        return log

    running = BlockKeeper(Identity(), open_writer, nodes.submit, lambda: 77)
    task = asyncio.create_task(running.run())
    try:
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_solve_is_recorded_while_the_node_is_still_thinking() -> None:
    nodes, log = Nodes(), ScriptedWriter()
    async with keeper(nodes, log) as running:
        candidate = solve(1)
        identity = running.found(candidate, LOGIN, late=False)
        async with asyncio.timeout(5):
            while not log.payloads:
                await asyncio.sleep(0.001)
        record = decode_block(log.payloads[0])
        assert record.hash == identity == block_hash(candidate.header)
        assert record.block[:80] == candidate.header
        assert (record.height, record.weight, record.sequence) == (101, 2, 0)
        assert (record.login.account, record.extranonce1) == ("addr", candidate.extranonce1)
        assert record.found_ms == 77
        nodes.gate.set()
        await running.drain()
        assert nodes.blocks == [record.block]


async def test_the_same_solve_is_taken_in_once() -> None:
    nodes, log = Nodes(), ScriptedWriter()
    nodes.gate.set()
    async with keeper(nodes, log) as running:
        assert running.found(solve(1), LOGIN, late=False) is not None
        assert running.found(solve(1), LOGIN, late=True) is None
        await running.drain()
        assert len(nodes.blocks) == len(log.payloads) == 1


@pytest.mark.parametrize(
    ("error", "closed"), [(LogFull("x", "full"), 0), (LogBroken("x", "bad"), 1)]
)
async def test_a_record_that_the_log_refuses_is_repeated_as_it_is(
    error: Exception, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "LOG_RETRY_S", 0.01)
    nodes, log = Nodes(), ScriptedWriter(failures=[error])
    nodes.gate.set()
    async with keeper(nodes, log) as running:
        running.found(solve(1), LOGIN, late=False)
        running.found(solve(2), LOGIN, late=False)
        await running.drain()
        records = [decode_block(payload) for payload in log.payloads]
        assert sorted(record.sequence for record in records)[:2] == [0, 1]
        assert log.attempts[0] in log.payloads
        assert log.closed == closed


async def test_a_block_that_no_node_knows_is_submitted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks_module, "RETRY_S", 0.01)
    nodes, log = Nodes(verdicts=[None, None, 1]), ScriptedWriter()
    nodes.gate.set()
    async with keeper(nodes, log) as running:
        running.found(solve(1), LOGIN, late=False)
        async with asyncio.timeout(5):
            while len(nodes.blocks) < 3:
                await asyncio.sleep(0.001)
        await running.drain()
        assert len(set(nodes.blocks)) == 1


async def test_a_block_that_lost_is_not_submitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "RETRY_S", 0.01)
    nodes, log = Nodes(verdicts=[-1]), ScriptedWriter()
    nodes.gate.set()
    async with keeper(nodes, log) as running:
        running.found(solve(1), LOGIN, late=False)
        await running.drain()
        await asyncio.sleep(0.05)
        assert len(nodes.blocks) == 1


async def test_solves_that_can_win_go_before_late_ones() -> None:
    nodes, log = Nodes(), ScriptedWriter()
    async with keeper(nodes, log) as running:
        for nonce in range(blocks_module.SUBMITTERS):
            running.found(solve(nonce), LOGIN, late=False)
        async with asyncio.timeout(5):
            while len(nodes.blocks) < blocks_module.SUBMITTERS:
                await asyncio.sleep(0.001)
        running.found(solve(100), LOGIN, late=True)
        fresh = solve(101)
        running.found(fresh, LOGIN, late=False)
        nodes.gate.set()
        await running.drain()
        assert nodes.blocks[blocks_module.SUBMITTERS][:80] == fresh.header


async def test_solves_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "WAITING_MAX", 3)
    nodes, log = Nodes(), ScriptedWriter()
    nodes.gate.set()
    async with keeper(nodes, log) as running:
        for nonce in range(8):
            running.found(solve(nonce), LOGIN, late=False)
        await running.drain()
        assert len(nodes.blocks) == 3
        assert len(log.payloads) == 8, "every solve is in the log"
