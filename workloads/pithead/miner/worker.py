"""One worker: a connection of its own that is made again whenever it is lost.

Searches in slices between which the event loop serves all other workers; a
worker sleeps while its hash rate allows nothing. Every submitted share is
reported once: with its answer, or as unanswered when the connection ends.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass

from pithead.miner.endpoint import Endpoint, reconnect_target
from pithead.miner.protocol import (
    Authorized,
    Broken,
    ClientProtocol,
    Event,
    MessageShown,
    ReconnectAsked,
    Refused,
    SubmitAnswered,
    Work,
)
from pithead.miner.record import Answer, Recorder, Tally, record_of
from pithead.miner.work import Algorithm, Searcher, Solution, TokenBucket

BACKOFF_S_MIN = 0.2
BACKOFF_S_MAX = 5.0
CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 30.0
"""A server that owes an answer this long is as good as gone."""
SILENCE_LIMIT_S = 600.0
"""Pools send a job every minute or so; the connection may be half open."""
FAREWELL_LIMIT_S = 2.0
"""How long a stopping worker waits for the answers that are still out."""
PENDING_MAX = 1024
"""Unanswered submits of one worker; then it waits, as more would only pile up."""
IDLE_S = 0.05
"""How often a worker without work looks for some, and for the order to stop."""
READ_BYTES = 65536

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """A worker to run."""

    login: str
    """As the pool wants it: `ADDRESS.WORKER` or `ACCOUNT.WORKER`."""
    password: str = "x"  # noqa: S105 - what miners send where none is asked for
    hashrate: float = 10_000.0
    """Hashes per second at most, below 1 as well; infinity for all that the CPU gives."""


class SessionLost(Exception):
    """Raised when a connection is over; the worker makes another."""

    def __init__(
        self, reason: str, *, endpoint: Endpoint | None = None, wait_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.endpoint = endpoint
        """Where to go next; None for the address that the worker was given."""
        self.wait_s = wait_s
        """How long to wait when the server has said so."""


class Worker:
    """Mines under one login until it is told to stop."""

    def __init__(
        self,
        home: Endpoint,
        spec: WorkerSpec,
        algorithm: Algorithm,
        recorder: Recorder | None = None,
    ) -> None:
        self.spec = spec
        self.tally = Tally()
        self._home = home
        self._algorithm = algorithm
        self._recorder = recorder
        self._state = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Mine until `stop` is set; losses are reconnected, only a fault of this program raises."""
        endpoint = self._home
        backoff_s = BACKOFF_S_MIN
        while not stop.is_set():
            session = _Session(self, endpoint)
            try:
                await session.run(stop)
            except SessionLost as lost:
                if session.worked:
                    backoff_s = BACKOFF_S_MIN
                if lost.wait_s is not None:
                    self._say(f"{self.spec.login}: {lost.reason}")
                    wait_s = max(lost.wait_s, BACKOFF_S_MIN)
                else:
                    self._say(f"{self.spec.login}: {lost.reason}; trying again")
                    wait_s = backoff_s
                    backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
                endpoint = lost.endpoint or self._home
                await sleep_unless(stop, wait_s)

    def report(
        self, solution: Solution, answer: Answer, code: int | None = None, text: str = ""
    ) -> None:
        """Count and hand on what became of a share."""
        record = record_of(self.spec.login, solution, answer, code, text)
        self.tally.count(record)
        if self._recorder is not None:
            self._recorder(record)

    def connected(self, endpoint: Endpoint) -> None:
        """Note that the pool has taken this worker in."""
        self._say(f"{self.spec.login}: mining on {endpoint}")

    def _say(self, text: str) -> None:
        """Log a change of state once, however often it is met again."""
        if text != self._state:
            self._state = text
            logger.info("%s", text)

    @property
    def algorithm(self) -> Algorithm:
        """What this worker computes."""
        return self._algorithm


class _Session:
    """One connection of a worker."""

    def __init__(self, worker: Worker, endpoint: Endpoint) -> None:
        self.worked = False
        """Whether the pool took this worker in and gave it a job."""
        self._worker = worker
        self._endpoint = endpoint
        self._searcher = Searcher(worker.algorithm)
        self._protocol = ClientProtocol(
            worker.spec.login,
            worker.spec.password,
            diff1_target=worker.algorithm.diff1_target,
        )
        self._authorized = False
        self._pending: dict[int, tuple[Solution, float]] = {}
        self._settled = asyncio.Event()
        """Set while no answer is owed."""
        self._settled.set()
        self._leaving: SessionLost | None = None
        """Why to leave as soon as what is out has been answered."""

    async def run(self, stop: asyncio.Event) -> None:
        """Mine until `stop` is set; raises SessionLost when the connection ends before."""
        reader, writer = await self._connect()
        self._worker.tally.connections += 1
        lost: SessionLost | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(reader, writer))
                self._protocol.start()
                self._send(writer)
                await self._mine(writer, reading, stop)
                # The server may still answer what is out; that is worth a moment.
                await sleep_unless(self._settled, FAREWELL_LIMIT_S)
                reading.cancel()
        except* SessionLost as group:
            lost = _first(group)
        finally:
            writer.transport.abort()
            for solution, _ in self._pending.values():
                self._worker.report(solution, Answer.NONE)
            self._pending.clear()
        lost = self._leaving or lost
        if lost is not None:
            raise lost

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        endpoint = self._endpoint
        context = ssl.create_default_context() if endpoint.tls else None
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                return await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
        except TimeoutError as error:
            raise SessionLost(f"{endpoint} does not answer") from error
        except OSError as error:
            raise SessionLost(f"{endpoint} cannot be reached: {error.strerror or error}") from error

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE_LIMIT_S):
                    data = await reader.read(READ_BYTES)
            except TimeoutError as error:
                raise SessionLost(f"{self._endpoint} fell silent") from error
            except OSError as error:
                raise SessionLost(f"{self._endpoint}: {error.strerror or error}") from error
            if not data:
                raise SessionLost(f"{self._endpoint} closed the connection")
            for event in self._protocol.receive(data):
                self._act(event)
            self._send(writer)

    def _act(self, event: Event) -> None:
        match event:
            case SubmitAnswered():
                self._answered(event)
            case Work():
                self._searcher.set_work(event)
                self._note_progress()
            case Authorized():
                self._authorized = True
                self._note_progress()
            case Refused(method=method, code=code, text=text):
                # No use to hurry: what is refused now will be refused in a second.
                reason = f"{self._endpoint} refused {method}: {text or 'no reason'} (code {code})"
                raise SessionLost(reason, wait_s=BACKOFF_S_MAX)
            case ReconnectAsked():
                self._reconnect(event)
            case MessageShown(text=text):
                logger.info("%s: the pool says: %s", self._worker.spec.login, text)
            case Broken(reason=reason):
                raise SessionLost(f"{self._endpoint} does not speak Stratum: {reason}")

    def _note_progress(self) -> None:
        if self._authorized and self._searcher.has_work and not self.worked:
            self.worked = True
            self._worker.connected(self._endpoint)

    def _answered(self, event: SubmitAnswered) -> None:
        solution, _ = self._pending.pop(event.id)
        if event.accepted:
            answer = Answer.TRUE
        elif event.code is None and not event.text:
            answer = Answer.FALSE
        else:
            answer = Answer.ERROR
        self._worker.report(solution, answer, event.code, event.text)
        if not self._pending:
            self._settled.set()

    def _reconnect(self, event: ReconnectAsked) -> None:
        target = reconnect_target(self._endpoint, event.host, event.port)
        if target is None:
            logger.warning(
                "%s: %s asks to go to %s:%s, which is not of its own domain: not followed",
                self._worker.spec.login,
                self._endpoint,
                event.host[:64],
                event.port,
            )
            return
        self._leaving = SessionLost(
            f"sent to {target} by the pool", endpoint=target, wait_s=event.wait_s
        )

    async def _mine(
        self, writer: asyncio.StreamWriter, reading: asyncio.Task[None], stop: asyncio.Event
    ) -> None:
        """Search and submit until `stop` is set or the pool has sent this worker away."""
        loop = asyncio.get_running_loop()
        bucket: TokenBucket | None = None
        while not stop.is_set() and self._leaving is None:
            now = loop.time()
            self._check_answers(now)
            if not self.worked or len(self._pending) >= PENDING_MAX:
                await asyncio.sleep(IDLE_S)
                continue
            if bucket is None:
                bucket = TokenBucket(self._worker.spec.hashrate, now)
            count = bucket.take(now, self._worker.algorithm.slice_hashes)
            if count:
                self._search(count, now, writer)
                await self._drain(writer, reading)
            await asyncio.sleep(min(bucket.delay_s(), IDLE_S))

    def _search(self, count: int, now: float, writer: asyncio.StreamWriter) -> None:
        solutions = self._searcher.search(count)
        self._worker.tally.hashes += count
        for solution in solutions:
            submit_id = self._protocol.submit(
                solution.work.job.job_id,
                solution.extranonce2,
                solution.ntime,
                solution.nonce,
                solution.version_bits,
            )
            self._pending[submit_id] = (solution, now)
            self._settled.clear()
        self._send(writer)

    def _check_answers(self, now: float) -> None:
        # Dictionaries keep their order, so the first is the oldest.
        oldest = next(iter(self._pending.values()), None)
        if oldest is not None and now - oldest[1] > ANSWER_LIMIT_S:
            raise SessionLost(f"{self._endpoint} does not answer submits")

    async def _drain(self, writer: asyncio.StreamWriter, reading: asyncio.Task[None]) -> None:
        try:
            await writer.drain()
        except OSError as error:
            # Answers may have arrived before the end: the reader takes them and says why.
            await asyncio.wait([reading], timeout=FAREWELL_LIMIT_S)
            raise SessionLost(f"{self._endpoint}: {error.strerror or error}") from error

    def _send(self, writer: asyncio.StreamWriter) -> None:
        data = self._protocol.take_output()
        # uvloop raises on a transport that has just ended; the reader says why it did.
        if data and not writer.transport.is_closing():
            writer.write(data)


def _first(group: BaseExceptionGroup[SessionLost]) -> SessionLost:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, SessionLost)
    return found


async def sleep_unless(event: asyncio.Event, seconds: float) -> None:
    """Sleep until `event` is set, `seconds` at most."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
