"""Clients of Kafka: how one is made, started, and stopped on every path.

aiokafka tells why it could not connect in its own log only, and many times a
second while a broker is away. So its log is heard here: the cause goes into the
error of whoever was starting, and what reaches the process's log is thinned.

A start is never cancelled: a connection of a cancelled start belongs to nobody
and is never closed. It ends by itself, each step within REQUEST_TIMEOUT_MS.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pithead.log.errors import LogTopicMissing
from pithead.log.kafka_errors import translated

REQUEST_TIMEOUT_MS = 4_000
"""One request or one step of a start; a leader that fails over answers sooner."""

RETRY_BACKOFF_MS = 200
METADATA_AGE_MS = 5_000
"""Bounds how long a moved leader stays unknown when nobody tells of the move."""

FETCH_WAIT_MS = 100
"""How long the broker holds a fetch when there is nothing new; one connection answers in order,
so anything else on it waits behind that."""

FETCH_BYTES = 1024 * 1024
"""Of one partition in one answer; a larger record comes all the same."""

BATCH_BYTES = 256 * 1024
REQUEST_BYTES_MAX = 17 * 1024 * 1024
"""The largest record with its frame."""

STOP_S = 2.0

LOOK_S = 1.0
"""How old the answer about clusters and partitions may be."""

REPEAT_S = 30.0
"""The same line of aiokafka's log is passed on once in this time."""

Step = Callable[[], Coroutine[Any, Any, None]]
"""Of starting or stopping a client."""

logger = logging.getLogger(__name__)


class KafkaAccess(Protocol):
    """How a cluster is reached; `config.KafkaSettings` is one."""

    @property
    def bootstrap_servers(self) -> tuple[str, ...]:
        """`host:port` of some brokers."""

    @property
    def ca(self) -> Path | None:
        """PEM file; TLS when given, trusting nothing else."""

    @property
    def username(self) -> str:
        """SASL SCRAM-SHA-512 when not empty."""

    @property
    def password(self) -> str:
        """Of the user."""


class Cluster(NamedTuple):
    """What brokers say of themselves."""

    id: str
    """Names the positions in its topics."""
    brokers: int
    partitions: dict[str, int]
    """How many, by topic; topics that the user may not see are missing."""


_causes: ContextVar[list[BaseException] | None] = ContextVar("kafka_causes", default=None)


class _Listener(logging.Handler):
    """Hears aiokafka's log: keeps causes for those who ask, passes lines on thinned."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._passed: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        causes = _causes.get()
        if causes is not None and isinstance(record.args, tuple):
            causes += [each for each in record.args if isinstance(each, BaseException)]
        now = time.monotonic()
        if now - self._passed.get(record.msg, -REPEAT_S) >= REPEAT_S:
            self._passed[record.msg] = now
            logger.warning("%s", record.getMessage()[:512])


def hear_aiokafka() -> None:
    """Take aiokafka's log over; a second call does nothing."""
    log = logging.getLogger("aiokafka")
    if not any(isinstance(handler, _Listener) for handler in log.handlers):
        log.addHandler(_Listener())
        log.propagate = False


def place_of(access: KafkaAccess, topic: str = "", partition: int | None = None) -> str:
    """Return how errors name a cluster, a topic or a partition."""
    place = f"kafka {','.join(access.bootstrap_servers)}"
    if topic:
        place += f" {topic}"
    return place if partition is None else f"{place}/{partition}"


async def start_producer(access: KafkaAccess) -> AIOKafkaProducer:
    """Return an idempotent producer that waits for all replicas; raises LogError."""
    options = await _options(access)
    producer = AIOKafkaProducer(
        **options,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
        max_request_size=REQUEST_BYTES_MAX,
    )
    await _started(access, producer.start, producer.stop)
    return producer


async def start_consumer(access: KafkaAccess) -> AIOKafkaConsumer:
    """Return a consumer without group and position of its own; raises LogError."""
    options = await _options(access)
    consumer = AIOKafkaConsumer(
        **options,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await _started(access, consumer.start, consumer.stop)
    return consumer


async def start_admin(access: KafkaAccess) -> AIOKafkaAdminClient:
    """Return a client for questions about the cluster and changes of topics; raises LogError."""
    admin = AIOKafkaAdminClient(**await _options(access))
    await _started(access, admin.start, admin.close)
    return admin


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Close its connections; never raises for what a broker does.

    A fetch that waits for its repetition breaks `stop` off before that. The
    attribute is private, which is why the version of aiokafka is pinned.
    """
    await _stopped(consumer.stop, consumer._client.close)


async def stop_admin(admin: AIOKafkaAdminClient) -> None:
    """Close its connections; never raises for what a broker does."""
    await _stopped(admin.close)


async def stop_producer(producer: AIOKafkaProducer, *, abandon: bool) -> None:
    """Close its connections; `abandon` what is not confirmed, else wait for it.

    `stop` waits without limit for what a broker that is away has not confirmed,
    and has no other form. Ending its sender and failing these records first lets
    it end; the attributes are private, which is why the version of aiokafka is
    pinned.
    """
    if abandon:
        await _stopped(producer._sender.close)
        accumulator = producer._message_accumulator
        queued = [batch for batches in accumulator._batches.values() for batch in batches]
        # A batch that was sent before takes itself off this set when it fails.
        accumulator._pending_batches.update(queued)
        accumulator.fail_all(KafkaError("given up by its writer"))
        for batch in queued:
            # Looked at here, as nobody else will: its records have answers of their own.
            batch._drain_waiter.exception()
    await _stopped(producer.stop, producer.client.close)


class Catalog:
    """Asks brokers who they are and which partitions there are, at most once in LOOK_S."""

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._admin: AIOKafkaAdminClient | None = None
        self._cluster: Cluster | None = None
        self._asked_s = 0.0
        self._lock = asyncio.Lock()

    async def cluster(self) -> Cluster:
        """Return what the brokers say, at most LOOK_S old; raises LogError."""
        async with self._lock:
            now = time.monotonic()
            if self._cluster is None or now - self._asked_s > LOOK_S:
                self._cluster = await self._ask()
                self._asked_s = now
            return self._cluster

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises LogTopicMissing and other LogErrors."""
        partitions = (await self.cluster()).partitions.get(topic, 0)
        if not partitions:
            raise LogTopicMissing(place_of(self._access, topic))
        return partitions

    async def close(self) -> None:
        """Close the connection; a later question opens another."""
        admin, self._admin = self._admin, None
        self._cluster = None
        if admin is not None:
            await stop_admin(admin)

    async def _ask(self) -> Cluster:
        if self._admin is None:
            self._admin = await start_admin(self._access)
        try:
            return await look(self._admin)
        except (KafkaError, OSError, TimeoutError) as error:
            # The next one starts from the bootstrap addresses again.
            await self.close()
            raise translated(error, place_of(self._access)) from error


async def look(admin: AIOKafkaAdminClient) -> Cluster:
    """Ask for cluster and topics; topics are listed, as naming one could make it."""
    described = await admin.describe_cluster()
    topics = await admin.describe_topics()
    return Cluster(
        id=str(described["cluster_id"]),
        brokers=len(described["brokers"]),
        partitions={
            topic["topic"]: len(topic["partitions"]) for topic in topics if not topic["error_code"]
        },
    )


async def _options(access: KafkaAccess) -> dict[str, Any]:
    hear_aiokafka()
    secured = "SASL_" if access.username else ""
    options: dict[str, Any] = {
        "bootstrap_servers": list(access.bootstrap_servers),
        "client_id": "pithead",
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
        "metadata_max_age_ms": METADATA_AGE_MS,
        "security_protocol": f"{secured}{'PLAINTEXT' if access.ca is None else 'SSL'}",
    }
    if access.ca is not None:
        options["ssl_context"] = await asyncio.to_thread(
            ssl.create_default_context, cafile=str(access.ca)
        )
    if access.username:
        options |= {
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": access.username,
            "sasl_plain_password": access.password,
        }
    return options


async def _started(access: KafkaAccess, start: Step, stop: Step) -> None:
    """Start to the end and stop on failure; a cancelled caller waits for both."""
    causes: list[BaseException] = []
    token = _causes.set(causes)
    starting = asyncio.ensure_future(start())
    _causes.reset(token)
    try:
        await asyncio.shield(starting)
    except (KafkaError, OSError, TimeoutError) as error:
        await _stopped(stop)
        raise translated(causes[-1] if causes else error, place_of(access)) from error
    except BaseException:
        await asyncio.wait((starting,))
        if not starting.cancelled():
            starting.exception()
        await _stopped(stop)
        raise


async def _stopped(*steps: Step) -> None:
    """Take all steps to the end, each within a limit; a cancelled caller waits for them."""
    stopping = asyncio.ensure_future(_take(steps))
    try:
        await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await asyncio.wait((stopping,))
        raise


async def _take(steps: Sequence[Step]) -> None:
    """Take each step as a task of its own, whatever comes of it.

    aiokafka waits for tasks that it has cancelled itself, and their cancellation
    would pass for one of whoever stops it.
    """
    for step in steps:
        task = asyncio.ensure_future(step())
        await asyncio.wait((task,), timeout=STOP_S)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=STOP_S)
        if not task.done() or task.cancelled() or task.exception() is not None:
            logger.debug("a Kafka client was not stopped in order: %r", task)
    # Transports that were closed give their sockets back in the loop's next rounds.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
