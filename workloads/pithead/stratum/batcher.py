"""The durable accept: a share hears `true` only after its batch is in the log.

Group commit: one batch is being written while the next collects; a batch
closes after `delay_ms`, when `shares_max` are in, or with the second. A sequence
number is bound to the bytes of its batch before the first attempt to write it:
a failed attempt is repeated with the same bytes, for ever, however the answers
went, and consumers drop what they have seen.

When the log does not confirm within `HOLD_MS`, or fails, the shares of the batch
in flight hear error 20 and new ones are refused, until that batch is
durable after all. Those are in no batch any more: they are not
credited. Those of the batch in flight may be: the log's answer was lost, not
necessarily the batch.

A log at its byte bound refuses shares before they are in a batch; the batches
themselves go on, without shares, for accounting needs their promises to free
space.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pithead.contracts.share_log_pb2 import RejectReason
from pithead.log.codec import encode_batch
from pithead.log.errors import WRITER_STAYS, LogError, LogFull
from pithead.log.share_log import LogWriter
from pithead.stratum import metrics
from pithead.stratum.batch import Answerable, Identity, OpenBatch
from pithead.stratum.encoding import Refusal
from pithead.stratum.errors import Code
from pithead.stratum.jobs import JobBook, Segment
from pithead.stratum.login import Login

HOLD_MS = 2_000
"""How long answers wait for a slow or failing log before they become error 20."""
IDLE_MS = 1_000
"""Every idle second an empty batch carries the promise."""
RETRY_S_MIN = 0.1
RETRY_S_MAX = 2.0
CLOSED_BATCHES_MAX = 64
"""Full batches that wait behind the one in flight; more shares than that are refused."""
SESSIONS_MAX = 4096
"""Logins in one batch: a farm that reconnects at once."""

REJECT_LOGINS_MAX = 8192
"""Logins in a batch that are there for a refused share only: while the log is away they gather."""

LOG_REFUSAL = Refusal(Code.OTHER, "the share log does not confirm: this share is not credited")
FULL_REFUSAL = Refusal(Code.OTHER, "the share log is full: this share is not credited")
END_REFUSAL = Refusal(Code.OTHER, "this server has stopped: connect again, this is not credited")

DoneT = TypeVar("DoneT")

logger = logging.getLogger(__name__)


class Batcher:
    """Collects shares and writes them as one producer of the log."""

    def __init__(
        self,
        identity: Identity,
        book: JobBook,
        open_writer: Callable[[], Awaitable[LogWriter]],
        clock_ms: Callable[[], int],
        *,
        shares_max: int,
        delay_ms: int,
    ) -> None:
        """`clock_ms` is Unix time and may step; what is written never falls."""
        self.sequence = 0
        """Number of the next batch."""
        self.started = asyncio.Event()
        """Set once batch 0 is durable; before, no listener may be open."""
        self.accepted = 0
        """Shares answered `true`."""
        self.work = 0
        """Weight of the shares that are durable, as `Login.work`."""
        self.trouble: str | None = None
        """Why shares are refused, None while the log confirms."""
        self.full = ""
        """Why no new shares are taken in although the log confirms; set by whoever measures."""
        self._identity = identity
        self._book = book
        self._open_writer = open_writer
        self._clock_ms = clock_ms
        self._shares_max = shares_max
        self._delay_s = delay_ms / 1000
        self._now_ms = 0
        self._promise = 0
        self._writer: LogWriter | None = None
        self._closed: deque[OpenBatch] = deque()
        self._open = OpenBatch(self.now_ms())
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._ended = False
        self._log_refusal = LOG_REFUSAL
        self._loop = asyncio.get_running_loop()

    def now_ms(self) -> int:
        """Return the producer's own clock: Unix milliseconds that never fall."""
        now = self._clock_ms()
        self._now_ms = max(self._now_ms, now)
        return self._now_ms

    @property
    def accepting(self) -> bool:
        """Whether a share handed in now can be credited."""
        return (
            self.trouble is None
            and not self.full
            and not self._ended
            and len(self._closed) < CLOSED_BATCHES_MAX
        )

    @property
    def refusing(self) -> str:
        """Why the log lets no share be credited, empty while it does."""
        return self.trouble or self.full

    @property
    def refusal(self) -> Refusal:
        """What to answer while `accepting` is false."""
        if self.trouble is None:
            if self._ended:
                return END_REFUSAL
            if self.full:
                return FULL_REFUSAL
        return self._log_refusal

    def share(
        self,
        login: Login,
        segment: Segment,
        weight: int,
        serial: int,
        writer: Answerable,
        request_id: bytes,
        *,
        header: bytes,
        pow_value: int,
        solved: bool,
    ) -> None:
        """Take in a valid share; the caller has looked at `accepting`."""
        batch = self._open
        batch.share(
            login,
            segment,
            weight,
            serial,
            self.now_ms(),
            writer,
            request_id,
            header=header,
            pow_value=pow_value,
            solved=solved,
        )
        if len(batch) >= self._shares_max:
            self._close_open()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._delay_s, self._set_due)

    def reject(self, login: Login, reason: RejectReason.ValueType) -> None:
        """Count a refused share; it travels with the next batch."""
        self._open.reject(login, reason, REJECT_LOGINS_MAX)

    def session(
        self,
        login: Login,
        user: str,
        extranonce1: bytes,
        agent: str,
        writer: Answerable,
        request_id: bytes,
    ) -> bool:
        """Make a session record durable; False when the log takes nothing now."""
        if not self.accepting:
            return False
        self._open.session(login, user, extranonce1, agent, writer, request_id)
        if self._open.session_count >= SESSIONS_MAX:
            self._close_open()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._delay_s, self._set_due)
        return True

    async def run(self) -> None:
        """Write batch 0, then batches until `end` is called, all that is left, and the end."""
        try:
            await self._write(self._take_open())
            self.started.set()
            while not self._ended:
                await self._wait_for_batch()
                await self._write(self._closed.popleft() if self._closed else self._take_open())
            while self._closed:
                await self._write(self._closed.popleft())
            await self._write(self._take_open(), end=True)
        finally:
            await self._close_writer()

    def end(self) -> None:
        """Take nothing more in; `run` returns when the log has everything."""
        self._ended = True
        self._wake.set()

    async def _wait_for_batch(self) -> None:
        """Return when a batch is due; every idle second an empty one is."""
        try:
            async with asyncio.timeout(IDLE_MS / 1000):
                while not (self._closed or self._due or self._ended):
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return

    def _set_due(self) -> None:
        # Not closed here: while a slow write is in flight the batch goes on collecting.
        self._timer = None
        self._due = True
        self._wake.set()

    def _close_open(self) -> None:
        self._closed.append(self._take_open())
        self._wake.set()

    def _take_open(self) -> OpenBatch:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = False
        batch, self._open = self._open, OpenBatch(self.now_ms())
        return batch

    async def _write(self, batch: OpenBatch, *, end: bool = False) -> None:
        """Bind the batch to its number and bytes, then repeat until it is durable."""
        promise = self._promise = max(self._promise, self._promise_with(batch))
        shift = self._book.params.shift
        payload = encode_batch(batch.seal(self._identity, self.sequence, promise, shift, end=end))
        self.sequence += 1
        delay_s = RETRY_S_MIN
        while True:
            started = time.perf_counter()
            try:
                await self._attempt(payload, batch)
            except (LogError, OSError) as error:
                metrics.LOG_FAILURES.inc()
                refusal = FULL_REFUSAL if isinstance(error, LogFull) else LOG_REFUSAL
                self._fail(str(error), batch, refusal)
                if not isinstance(error, WRITER_STAYS):
                    await self._close_writer()
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_S_MAX)
                continue
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
            break
        if self.trouble is not None:
            logger.warning("the share log confirms again after: %s", self.trouble)
            self.trouble = None
        metrics.BATCHES.inc()
        done = batch.answer_all()
        metrics.ACCEPTED.inc(done.shares)
        self.accepted += done.shares
        self.work += done.weight

    def _promise_with(self, batch: OpenBatch) -> int:
        """Return the lowest height that this batch, or one that waits behind it, credits.

        Shares taken in just before a new block would else lie below the promise of
        a record that goes before them.
        """
        promise = self._book.promise
        for unsealed in (batch, *self._closed, self._open):
            promise = unsealed.own_promise(promise)
        return promise

    async def _attempt(self, payload: bytes, batch: OpenBatch) -> None:
        if self._writer is None:
            self._writer = await self._in_time(self._open_writer(), batch)
        await self._in_time(self._writer.append(payload), batch)

    async def _in_time(self, work: Awaitable[DoneT], batch: OpenBatch) -> DoneT:
        """Wait for the log however long it takes; those who wait for answers, not that long."""
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait((task,), timeout=HOLD_MS / 1000)
            if not done:
                self._fail(f"no confirmation within {HOLD_MS} ms", batch, LOG_REFUSAL)
            return await task
        except asyncio.CancelledError:
            task.cancel()
            raise

    def _fail(self, reason: str, batch: OpenBatch, refusal: Refusal) -> None:
        if self.trouble is None:
            logger.error("the share log fails, shares are refused: %s", reason)
        self.trouble = reason
        self._log_refusal = refusal
        refused = batch.refuse_all(refusal)
        for unbound in (*self._closed, self._open):
            refused += unbound.refuse_all(refusal)
            unbound.drop_shares()
        metrics.UNCREDITED.inc(refused)

    async def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                await writer.close()
            except (LogError, OSError) as error:
                logger.warning("closing the share log: %s", error)
