"""DurableAccept: nobody hears `true` before the log does, whatever the log does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pithead.contracts.share_log_pb2 import RejectReason
from pithead.log.errors import LogBroken, LogError, LogFull, LogUnavailable
from pithead.log.samples import sampled_share
from pithead.log.share_log import LogWriter
from pithead.stratum import batcher as batcher_module
from pithead.stratum.batcher import Batcher
from pithead.stratum.jobs import JobBook
from pithead.stratum.login import Login
from tests.unit.stratum.support import Identity, ScriptedWriter, book, parse_lines, template

pytestmark = pytest.mark.gate

LOGIN = Login("addr", "w", 3)


@dataclass(eq=False)
class Peer:
    """A connection that notes what it hears."""

    heard: bytearray = field(default_factory=bytearray)
    logins: list[tuple[str, bool]] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.heard += data

    def login_durable(self, user: str, login: Login, request_id: bytes, *, durable: bool) -> None:
        self.logins.append((user, durable))

    def answers(self) -> dict[int, bool]:
        lines = parse_lines(bytes(self.heard))
        return {line["id"]: line["result"] is True for line in lines}


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000

    def __call__(self) -> int:
        return self.ms


@dataclass
class Bench:
    batcher: Batcher
    works: JobBook
    log: ScriptedWriter
    clock: Clock
    task: asyncio.Task[None]
    next_id: int = 0

    def share(self, peer: Peer, login: Login = LOGIN, pow_value: int = 1 << 250) -> int:
        assert self.batcher.accepting
        entry = self.works.current
        assert entry is not None
        self.next_id += 1
        request_id = str(self.next_id).encode()
        self.batcher.share(
            login,
            entry.segment,
            5,
            0,
            peer,
            request_id,
            header=header_of(self.next_id),
            pow_value=pow_value,
            solved=False,
        )
        return self.next_id

    async def end(self) -> None:
        self.batcher.end()
        await self.task


def header_of(number: int) -> bytes:
    return number.to_bytes(80, "big")


@asynccontextmanager
async def bench(shares_max: int = 512, delay_ms: int = 1) -> AsyncIterator[Bench]:
    works = book()
    works.add(template(101), 0)
    log = ScriptedWriter()
    clock = Clock()

    async def open_writer() -> LogWriter:
        return log

    batcher = Batcher(
        Identity(), works, open_writer, clock, shares_max=shares_max, delay_ms=delay_ms
    )
    task = asyncio.create_task(batcher.run())
    await batcher.started.wait()
    try:
        yield Bench(batcher, works, log, clock, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: object, limit_s: float = 5.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.001)


async def test_batch_0_is_durable_before_anything_else() -> None:
    async with bench() as it:
        assert [batch.sequence for batch in it.log.batches] == [0]
        assert it.log.batches[0].promise == 100


async def test_each_batch_with_shares_carries_the_header_that_its_number_names() -> None:
    async with bench(delay_ms=20) as it:
        peer = Peer()
        first = 1
        for count in (1, 2, 7, 30):
            for _ in range(count):
                it.share(peer)
            await until(lambda: len(peer.answers()) == it.next_id)
            batch = it.log.batches[-1]
            assert len(batch.weight) == count
            index = sampled_share(batch.producer, batch.sequence, count)
            (sample,) = batch.samples
            assert (sample.share, sample.header) == (index, header_of(first + index))
            first += count
        await it.end()
        assert not it.log.batches[-1].samples, "a batch without shares has nothing to show"


async def test_true_is_heard_only_after_the_batch_is_durable() -> None:
    async with bench() as it:
        peer = Peer()
        it.log.gate.clear()
        number = it.share(peer)
        await until(lambda: len(it.log.attempts) == 2)
        await asyncio.sleep(0.02)
        assert peer.heard == b""
        heard_when_durable: list[bytes] = []
        it.log.on_durable = lambda _batch: heard_when_durable.append(bytes(peer.heard))
        it.log.gate.set()
        await until(lambda: peer.heard)
        assert heard_when_durable == [b""]
        assert peer.answers() == {number: True}


async def test_while_one_batch_is_written_the_next_one_collects() -> None:
    async with bench(shares_max=512) as it:
        peer = Peer()
        it.log.gate.clear()
        it.share(peer)
        await until(lambda: len(it.log.attempts) == 2)
        for _ in range(20):
            it.share(peer)
            await asyncio.sleep(0.002)
        it.log.gate.set()
        await until(lambda: len(peer.answers()) == 21)
        sizes = [len(batch.weight) for batch in it.log.batches if batch.weight]
        assert sizes == [1, 20], "a slow disk makes batches larger, not more"


async def test_a_batch_closes_when_it_is_full() -> None:
    async with bench(shares_max=4, delay_ms=60_000) as it:
        peer = Peer()
        for _ in range(9):
            it.share(peer)
        await until(lambda: len(peer.answers()) == 8)
        sizes = [len(batch.weight) for batch in it.log.batches if batch.weight]
        assert sizes == [4, 4]


async def test_columns_and_dictionaries_say_what_was_handed_in() -> None:
    async with bench() as it:
        peer, mine, other = Peer(), Login("addr", "w", 3), Login("other", "", 4)
        it.share(peer, mine)
        it.clock.ms += 250
        it.share(peer, other)
        it.batcher.reject(mine, RejectReason.REJECT_STALE)
        it.batcher.reject(mine, RejectReason.REJECT_STALE)
        it.batcher.session(other, "other", b"\x04\x00\x00\x00\x01", "agent", peer, b"9")
        await until(lambda: it.batcher.accepted == 2)
        batch = it.log.batches[1]
        assert list(zip(batch.account, batch.worker, batch.slot, strict=True)) == [
            ("addr", "w", 3),
            ("other", "", 4),
        ]
        assert list(batch.login) == [0, 1]
        assert list(batch.time_offset_ms) == [0, 250]
        assert [segment.height for segment in batch.segments] == [101]
        assert [(r.login, r.reason, r.count) for r in batch.rejects] == [
            (0, RejectReason.REJECT_STALE, 2)
        ]
        assert [(s.login, s.agent) for s in batch.sessions] == [(1, "agent")]
        assert peer.logins == [("other", True)]
        assert (mine.work, other.work) == (5, 5)


async def test_the_best_hash_of_each_login_travels_as_the_weight_that_it_was_worth() -> None:
    async with bench(shares_max=4, delay_ms=60_000) as it:
        peer, mine, other, idle = (
            Peer(),
            Login("addr", "w", 3),
            Login("b", "", 4),
            Login("c", "", 4),
        )
        it.batcher.reject(idle, RejectReason.REJECT_LOW)
        for login, pow_value in ((mine, 1 << 200), (mine, (1 << 199) - 1), (mine, 1 << 201)):
            it.share(peer, login, pow_value)
        it.share(peer, other, 0)
        await until(lambda: it.batcher.accepted == 4)
        batch = it.log.batches[1]
        assert list(batch.worker) == ["", "w", ""]
        assert list(batch.best) == [0, 1 << 57, (1 << 63) - 1]


async def test_a_new_block_between_taking_in_and_writing_does_not_break_the_promise() -> None:
    async with bench(shares_max=1) as it:
        peer = Peer()
        it.log.gate.clear()
        it.share(peer)
        await until(lambda: len(it.log.attempts) == 2)
        for _ in range(3):
            it.share(peer)
        it.works.add(template(150), 0)
        it.log.gate.set()
        await until(lambda: len(peer.answers()) == 4)
        await it.end()
        promises = [batch.promise for batch in it.log.batches]
        assert promises == sorted(promises)
        for batch in it.log.batches:
            for index in batch.segment:
                assert batch.segments[index].height >= batch.promise
        assert promises[-1] == 149


async def test_the_clock_of_batches_never_falls() -> None:
    async with bench() as it:
        peer = Peer()
        for ms in (5_000, 2_000, 7_000, 1):
            it.clock.ms = ms
            it.share(peer)
            await until(lambda: it.batcher.accepted == it.next_id)
        bases = [batch.time_base_ms for batch in it.log.batches]
        assert bases == sorted(bases)
        assert all(offset >= 0 for batch in it.log.batches for offset in batch.time_offset_ms)


async def test_an_idle_second_writes_an_empty_batch() -> None:
    async with bench() as it:
        await until(lambda: len(it.log.batches) >= 2, 3.0)
        assert not it.log.batches[1].weight


@pytest.mark.parametrize(
    "failure",
    [LogFull("x", "no space"), LogUnavailable("x", "no answer")],
    ids=["disk-full", "brokers-away"],
)
async def test_a_log_that_heals_refuses_shares_until_then_and_gets_the_same_bytes(
    failure: LogError,
) -> None:
    async with bench() as it:
        peer = Peer()
        it.log.failures = [failure] * 2
        number = it.share(peer)
        await until(lambda: it.batcher.trouble is not None)
        assert peer.answers() == {number: False}
        assert parse_lines(bytes(peer.heard))[0]["error"][0] == 20
        assert not it.batcher.accepting
        assert not it.batcher.session(LOGIN, "u", bytes(5), "", peer, b"1")
        await until(lambda: it.batcher.trouble is None)
        assert it.log.attempts[1] == it.log.attempts[2] == it.log.attempts[3]
        assert it.log.closed == 0, "what heals by itself needs no new writer"
        after = it.share(peer)
        await until(lambda: it.batcher.accepted == 1)
        assert peer.answers()[after]


async def test_shares_behind_a_failing_batch_are_not_credited() -> None:
    async with bench(shares_max=1) as it:
        peer = Peer()
        it.log.gate.clear()
        it.share(peer)
        await until(lambda: len(it.log.attempts) == 2)
        refused = [it.share(peer) for _ in range(3)]
        it.log.failures = [LogFull("x", "no space")]
        it.log.gate.set()
        await until(lambda: it.batcher.trouble is not None)
        assert [peer.answers()[number] for number in refused] == [False] * 3
        await until(lambda: it.batcher.trouble is None)
        await it.end()
        assert sum(len(batch.weight) for batch in it.log.batches) == 1
        assert [batch.sequence for batch in it.log.batches] == list(range(len(it.log.batches)))


async def test_a_broken_writer_is_opened_anew() -> None:
    async with bench() as it:
        it.log.failures = [LogBroken("x", "bad disk")]
        peer = Peer()
        it.share(peer)
        await until(lambda: it.log.closed == 1)
        await until(lambda: it.batcher.trouble is None)
        assert it.log.attempts[1] == it.log.attempts[2]


async def test_a_log_that_hangs_is_an_outage_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "HOLD_MS", 30)
    async with bench() as it:
        peer = Peer()
        it.log.gate.clear()
        it.share(peer)
        await until(lambda: it.batcher.trouble is not None)
        assert list(peer.answers().values()) == [False]
        it.log.gate.set()
        await until(lambda: it.batcher.accepting)
        assert len(peer.answers()) == 1, "nobody is answered twice"


async def test_a_log_that_can_not_be_opened_in_time_is_an_outage_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batcher_module, "HOLD_MS", 30)
    log, opened = ScriptedWriter(), asyncio.Event()

    async def open_writer() -> LogWriter:
        await opened.wait()
        return log

    batcher = Batcher(Identity(), book(), open_writer, Clock(), shares_max=8, delay_ms=1)
    task = asyncio.create_task(batcher.run())
    await until(lambda: batcher.trouble is not None)
    assert not batcher.started.is_set()
    opened.set()
    await batcher.started.wait()
    assert batcher.trouble is None
    batcher.end()
    await task


async def test_a_writer_that_lost_its_brokers_for_a_moment_is_kept() -> None:
    async with bench() as it:
        it.log.failures = [LogUnavailable("x", "no confirmation")] * 2
        it.share(Peer())
        await until(lambda: it.batcher.trouble is not None)
        await until(lambda: it.batcher.trouble is None)
        assert it.log.closed == 0
        assert len(set(it.log.attempts[1:4])) == 1


async def test_refused_shares_of_a_long_outage_do_not_fill_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batcher_module, "REJECT_LOGINS_MAX", 3)
    async with bench() as it:
        for number in range(5):
            login = Login("addr", str(number), 3)
            it.batcher.reject(login, RejectReason.REJECT_STALE)
            it.batcher.reject(login, RejectReason.REJECT_STALE)
        it.share(Peer(), Login("addr", "mines", 3))
        await until(lambda: it.batcher.accepted == 1)
        batch = next(batch for batch in it.log.batches if batch.weight)
        assert [(each.login, each.count) for each in batch.rejects] == [(0, 2), (1, 2), (2, 2)]
        assert list(batch.worker) == ["0", "1", "2", "mines"]


async def test_work_is_the_weight_of_what_is_durable_whatever_was_answered() -> None:
    async with bench() as it:
        for _ in range(3):
            it.share(Peer())
        await until(lambda: it.batcher.accepted == 3)
        assert it.batcher.work == 15
        it.log.failures = [LogFull("x", "no space")]
        it.share(Peer())
        await until(lambda: it.batcher.trouble is not None)
        await until(lambda: it.batcher.trouble is None)
        assert (it.batcher.accepted, it.batcher.work) == (3, 20)


async def test_what_comes_after_the_end_is_refused_as_such() -> None:
    async with bench() as it:
        await it.end()
        assert "stopped" in it.batcher.refusal.text


async def test_the_last_batch_carries_all_that_is_left_and_the_end() -> None:
    async with bench(delay_ms=60_000) as it:
        peer = Peer()
        it.share(peer)
        await it.end()
        batches = it.log.batches
        assert [batch.end for batch in batches] == [False] * (len(batches) - 1) + [True]
        assert sum(len(batch.weight) for batch in batches) == 1
        assert list(peer.answers().values()) == [True]
        assert not it.batcher.accepting
        assert it.log.closed == 1


async def test_more_than_the_queue_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "CLOSED_BATCHES_MAX", 2)
    async with bench(shares_max=1) as it:
        it.log.gate.clear()
        peer = Peer()
        it.share(peer)
        await until(lambda: len(it.log.attempts) == 2)
        it.share(peer)
        assert it.batcher.accepting
        it.share(peer)
        assert not it.batcher.accepting
        it.log.gate.set()
        await until(lambda: it.batcher.accepting)


async def test_pipelined_answers_of_one_peer_go_out_in_one_write() -> None:
    class Counting(Peer):
        writes = 0

        def write(self, data: bytes) -> None:
            self.writes += 1
            super().write(data)

    async with bench() as it:
        peer = Counting()
        for _ in range(8):
            it.share(peer)
        await until(lambda: len(peer.answers()) == 8)
        assert peer.writes == 1
