"""Solved blocks: to every node at once, and durably into the log beside it.

The miner's answer waits for neither. What a node answers to a submit is not
believed: each is asked for the block by its hash afterwards (in the coins
package), and the outcome is logged. A record's number is bound to its bytes
before the first attempt to write it, which is repeated until it succeeds.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from pithead.coins.hashing import block_hash
from pithead.contracts import share_log_pb2 as wire
from pithead.log.codec import encode_block
from pithead.log.errors import WRITER_STAYS, LogError
from pithead.log.share_log import LogWriter
from pithead.stratum import metrics
from pithead.stratum.batch import Identity
from pithead.stratum.login import Login
from pithead.stratum.validation import Candidate

SUBMITTERS = 4
"""Solves submitted at the same time. On a real network there is one at a time."""
WAITING_MAX = 4096
"""Solves that wait for a node; test chains find them faster than a node takes them."""
SEEN_MAX = 4096
ATTEMPTS_MAX = 12
"""Rounds over all nodes, with growing pauses: some five minutes, in which a node can restart."""
RETRY_S = 1.0
RETRY_S_MAX = 30.0
LOG_RETRY_S = 0.5
LOG_RETRY_S_MAX = 2.0

logger = logging.getLogger(__name__)


class Submitted(Protocol):
    """What became of a block at one node; `pithead.coins.node.Submission` is one."""

    @property
    def node(self) -> str:
        """Name of the node."""

    @property
    def word(self) -> str | None:
        """The node's answer, not to be believed."""

    @property
    def confirmations(self) -> int | None:
        """What the node says of the hash afterwards: None unknown, -1 off the main chain."""


Submit = Callable[[bytes], Awaitable[Sequence[Submitted]]]


class Solve(NamedTuple):
    """A solved block on its way to the nodes."""

    hash: bytes
    height: int
    block: bytes
    attempt: int = 1


class BlockKeeper:
    """Records and submits solves, for the length of its `run`."""

    def __init__(
        self,
        identity: Identity,
        open_writer: Callable[[], Awaitable[LogWriter]],
        submit: Submit,
        unix_ms: Callable[[], int],
    ) -> None:
        self._identity = identity
        self._open_writer = open_writer
        self._submit = submit
        self._unix_ms = unix_ms
        self._sequence = 0
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._fresh: deque[Solve] = deque()
        self._late: deque[Solve] = deque()
        self._records: deque[bytes] = deque()
        self._new_record = asyncio.Event()
        self._new_solve = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._busy = 0
        self._writer: LogWriter | None = None
        self._log_retry_s = 0.0
        """Pause after the next failure of the log; 0 while it confirms."""

    @property
    def records_waiting(self) -> int:
        """Records that are not in the log yet."""
        return len(self._records)

    def found(self, candidate: Candidate, login: Login, *, late: bool) -> bytes | None:
        """Take in a solve; returns its hash, None when it was taken in before.

        `late`: its parent has a successor already. It is submitted all the same,
        behind those that still can win.
        """
        identity = block_hash(candidate.header)
        if identity in self._seen:
            return None
        self._seen[identity] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        job = candidate.sent.variant.job
        block = job.block(
            candidate.extranonce1,
            candidate.extranonce2,
            candidate.ntime,
            candidate.nonce,
            candidate.version,
        )
        template = job.template
        logger.info(
            "block found at height %d by %s: %s%s",
            template.height,
            login.text,
            identity[::-1].hex(),
            " (late)" if late else "",
        )
        metrics.BLOCKS_FOUND.inc()
        self._records.append(self._record(candidate, login, identity, block))
        metrics.BLOCK_RECORDS_WAITING.set(len(self._records))
        queue = self._late if late else self._fresh
        if len(self._fresh) + len(self._late) >= WAITING_MAX:
            dropped = (self._late or self._fresh).popleft()
            metrics.BLOCKS.labels("dropped").inc()
            logger.error(
                "too many solves wait for a node; %s is in the log but is not submitted by this "
                "process",
                dropped.hash[::-1].hex(),
            )
        queue.append(Solve(identity, template.height, block))
        self._settled.clear()
        self._new_record.set()
        self._new_solve.set()
        return identity

    async def run(self) -> None:
        """Write and submit until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write_records())
                for _ in range(SUBMITTERS):
                    group.create_task(self._submit_solves())
        finally:
            if self._records:
                logger.error("%d solves are not in the share log", len(self._records))
            if self._writer is not None:
                await self._writer.close()

    async def drain(self) -> None:
        """Wait until every solve is in the log and was offered to the nodes."""
        await self._settled.wait()

    def _record(self, candidate: Candidate, login: Login, identity: bytes, block: bytes) -> bytes:
        sent = candidate.sent
        template = sent.variant.job.template
        record = wire.BlockRecord(
            producer=self._identity.producer,
            sequence=self._sequence,
            pool=self._identity.pool,
            coin=self._identity.coin,
            region=self._identity.region,
            hash=identity,
            height=template.height,
            parent=template.parent,
            bits=template.bits,
            block=block,
            value=template.coinbase_value,
            login=wire.Login(account=login.account, worker=login.worker, slot=login.slot),
            extranonce1=candidate.extranonce1,
            serial=sent.variant.job.serial,
            weight=sent.weight,
            found_ms=self._unix_ms(),
        )
        self._sequence += 1
        return encode_block(record)

    def _settle(self) -> None:
        if not (self._records or self._fresh or self._late or self._busy):
            self._settled.set()

    async def _write_records(self) -> None:
        while True:
            while not self._records:
                self._new_record.clear()
                await self._new_record.wait()
            # The record stays in the queue until it is durable, so that a drain waits for it.
            await self._append(list(self._records))

    async def _append(self, payloads: list[bytes]) -> None:
        try:
            if self._writer is None:
                self._writer = await self._open_writer()
            writer = self._writer
            results = await asyncio.gather(
                *(writer.append(payload) for payload in payloads), return_exceptions=True
            )
        except (LogError, OSError) as error:
            results = [error]
        for result in results:
            if isinstance(result, BaseException):
                await self._log_failed(result)
                return
            self._records.popleft()
            metrics.BLOCK_RECORDS_WAITING.set(len(self._records))
        if self._log_retry_s:
            logger.warning("the block log confirms again")
            self._log_retry_s = 0.0
        self._settle()

    async def _log_failed(self, error: BaseException) -> None:
        if not isinstance(error, (LogError, OSError)):
            raise error
        metrics.LOG_FAILURES.inc()
        if not self._log_retry_s:
            logger.error("the block log fails, %d records wait: %s", len(self._records), error)
        if not isinstance(error, WRITER_STAYS) and self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                await writer.close()
            except (LogError, OSError) as closing:
                logger.warning("closing the block log: %s", closing)
        self._log_retry_s = min(max(self._log_retry_s * 2, LOG_RETRY_S), LOG_RETRY_S_MAX)
        await asyncio.sleep(self._log_retry_s)

    async def _submit_solves(self) -> None:
        while True:
            while not (self._fresh or self._late):
                self._new_solve.clear()
                await self._new_solve.wait()
            solve = (self._fresh or self._late).popleft()
            self._busy += 1
            try:
                await self._offer(solve)
            finally:
                self._busy -= 1
                self._settle()

    async def _offer(self, solve: Solve) -> None:
        """Submit to all nodes and log what became of it; unknown everywhere: again later."""
        name = solve.hash[::-1].hex()
        results = await self._submit(solve.block)
        words = "; ".join(f"{result.node}: {result.word or 'no objection'}" for result in results)
        if any((result.confirmations or 0) > 0 for result in results):
            metrics.BLOCKS.labels("accepted").inc()
            logger.info("block %s at height %d is on the chain", name, solve.height)
        elif any(result.confirmations is not None for result in results):
            metrics.BLOCKS.labels("off-chain").inc()
            logger.warning("block %s at height %d lost to another: %s", name, solve.height, words)
        elif solve.attempt >= ATTEMPTS_MAX:
            metrics.BLOCKS.labels("refused").inc()
            logger.error("no node took block %s at height %d: %s", name, solve.height, words)
        else:
            delay_s = min(RETRY_S * 2 ** (solve.attempt - 1), RETRY_S_MAX)
            logger.warning("no node knows block %s yet: %s", name, words)
            # Behind all first attempts: a solve that nodes refuse must not hold up a good one.
            again = solve._replace(attempt=solve.attempt + 1)
            asyncio.get_running_loop().call_later(delay_s, self._again, again)

    def _again(self, solve: Solve) -> None:
        self._late.append(solve)
        self._settled.clear()
        self._new_solve.set()
