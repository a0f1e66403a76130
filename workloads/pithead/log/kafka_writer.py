"""The writer of a Kafka partition: an own deadline around an idempotent producer.

The producer itself repeats a record until brokers confirm it, however long that
takes, and keeps the order. An append waits SEND_S and then gives up with
`LogUnavailable`, but not the record: that stays under way. An append of the same
bytes takes the waiting up again instead of sending a second copy. A producer
that has confirmed nothing for RENEW_S is of no more use (`LogBroken`): the next
one starts from the bootstrap addresses, as brokers may have moved. What the old
one had under way may then arrive twice, and readers drop it by producer and
sequence.
"""

import asyncio
from collections import OrderedDict

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pithead.log.chunk import RECORD_BYTES_MAX
from pithead.log.errors import (
    LogBroken,
    LogClosed,
    LogError,
    LogOverloaded,
    LogUnavailable,
    RecordTooLarge,
)
from pithead.log.kafka_client import stop_producer
from pithead.log.kafka_errors import translated
from pithead.log.writer import QUEUE_BYTES_MAX

SEND_S = 2.0
"""A leader that fails over answers within it; a miner does not wait longer for its answer."""

RENEW_S = 10.0

CLOSE_S = 1.0
"""For what is under way when the writer is closed."""

GIVEN_UP_MAX = 1024
"""Records whose append gave up and whose repetition is waited for; one producer has a few."""


class KafkaWriter:
    """A writer of one partition, among others perhaps; implements `LogWriter`."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int, place: str) -> None:
        """Write with a started producer, which belongs to the writer from now on."""
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._order = asyncio.Lock()
        self._waiting_bytes = 0
        self._under_way: dict[asyncio.Task[int], float] = {}
        self._given_up: OrderedDict[bytes, asyncio.Task[int]] = OrderedDict()
        self._broken: LogBroken | None = None
        self._closing: asyncio.Task[None] | None = None

    async def append(self, payload: bytes) -> int:
        """Make `payload` durable on all in-sync replicas and return the position after it.

        `LogUnavailable`: not confirmed in time, it may still come; append the
        same bytes again. `LogBroken`: the same, but this writer is of no more
        use. `LogOverloaded`, `RecordTooLarge`, `LogClosed`: it was not sent.
        `LogNotAllowed`: it was refused. The position is 0 when brokers confirm
        a repetition without saying where the first copy lies.
        """
        sending = self._given_up.pop(payload, None) or self._begin(payload)
        try:
            done, _ = await asyncio.wait((sending,), timeout=SEND_S)
        except asyncio.CancelledError:
            self._give_up(payload, sending)
            raise
        if not done:
            self._give_up(payload, sending)
            raise self._unconfirmed()
        try:
            return sending.result()
        except (KafkaError, LogError, OSError, asyncio.CancelledError) as error:
            failure = translated(error, self._place)
            if isinstance(error, asyncio.CancelledError):
                failure = LogBroken(self._place, "the writer was closed before the confirmation")
            if isinstance(failure, LogBroken):
                self._broken = failure
            raise failure from error

    async def close(self) -> None:
        """Finish what was appended, within CLOSE_S, and close; a second call does nothing."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    def _begin(self, payload: bytes) -> asyncio.Task[int]:
        if self._broken is not None:
            raise LogBroken(self._place, self._broken.reason) from self._broken
        if self._closing is not None:
            raise LogClosed(self._place)
        if len(payload) > RECORD_BYTES_MAX:
            raise RecordTooLarge(self._place, len(payload), RECORD_BYTES_MAX)
        if self._waiting_bytes + len(payload) > QUEUE_BYTES_MAX:
            raise LogOverloaded(self._place, self._waiting_bytes, QUEUE_BYTES_MAX)
        self._waiting_bytes += len(payload)
        sending = self._loop.create_task(self._send(payload))
        self._under_way[sending] = self._loop.time()
        sending.add_done_callback(lambda task: self._sent(task, len(payload)))
        return sending

    async def _send(self, payload: bytes) -> int:
        async with self._order:
            if self._partition not in await self._producer.partitions_for(self._topic):
                raise LogBroken(self._place, "the brokers no longer have this partition")
            confirmed = await self._producer.send(self._topic, payload, partition=self._partition)
        return int((await confirmed).offset) + 1

    def _sent(self, task: asyncio.Task[int], size: int) -> None:
        self._waiting_bytes -= size
        del self._under_way[task]
        if not task.cancelled():
            task.exception()  # Looked at, also when nobody repeats this record.

    def _give_up(self, payload: bytes, sending: asyncio.Task[int]) -> None:
        self._given_up[payload] = sending
        if len(self._given_up) > GIVEN_UP_MAX:
            self._given_up.popitem(last=False)

    def _unconfirmed(self) -> LogUnavailable | LogBroken:
        waited_s = self._loop.time() - min(self._under_way.values())
        if waited_s < RENEW_S:
            return LogUnavailable(self._place, f"no confirmation within {SEND_S:g} s")
        self._broken = LogBroken(self._place, f"no confirmation within {waited_s:.0f} s")
        return self._broken

    async def _close(self) -> None:
        if self._under_way and self._broken is None:
            await asyncio.wait(list(self._under_way), timeout=CLOSE_S)
        left = list(self._under_way)
        await stop_producer(self._producer, abandon=bool(left))
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        self._given_up.clear()
