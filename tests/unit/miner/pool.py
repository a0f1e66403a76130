"""A pool of one job for the miner's tests: judges shares itself and answers as it is told."""

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from pithead.coins.hashing import sha256d_pow
from pithead.coins.job import Job, Work, pool_tag
from pithead.coins.params import DIFF1_SHA256D
from pithead.coins.template import Template, TemplateTx
from pithead.coins.weight import bits_to_target, target_of_weight

SALT = bytes(range(16))
MASK = 0x1FFFE000
BITS = 0x1D00FFFF
SERIAL = 0x1234


def job_of(serial: int = SERIAL, height: int = 101) -> Job:
    """A job with two transactions beside its coinbase."""
    template = Template(
        height=height,
        parent=bytes(range(32)),
        version=0x20000000,
        bits=BITS,
        target=bits_to_target(BITS),
        time=1_800_000_000,
        min_time=1_799_999_000,
        coinbase_value=50 * 10**8,
        transactions=(TemplateTx(b"", b"\x01" * 32), TemplateTx(b"", b"\x02" * 32)),
    )
    return Work(template, bytes.fromhex("0014") + bytes(20), pool_tag("p"), SALT).job(serial)


class TinyPool:
    """Listens on loopback for the length of the context."""

    def __init__(self, weight: int = 16, tls: ssl.SSLContext | None = None) -> None:
        self.target = target_of_weight(weight, 0)
        self.job = job_of()
        self.port = 0
        self.logins: list[str] = []
        self.valid: list[tuple[str, ...]] = []
        """Submits that are right, as they came."""
        self.wrong: list[str] = []
        """What was wrong with others."""
        self.login_error: list[Any] | None = None
        self.answers = True
        """Whether submits are answered."""
        self.verdict: Callable[[int], tuple[Any, Any]] = lambda _count: (True, None)
        """Result and error for the n-th right submit."""
        self.on_submit: Callable[[int], bytes] = lambda _count: b""
        """What to send before the n-th right submit is answered."""
        self.greeting: bytes | None = None
        """Sent instead of speaking Stratum at all."""
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.StreamWriter, bytes] = {}
        self._seen: set[tuple[str, ...]] = set()
        self._connections = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def connections(self) -> int:
        """Connections that were ever made."""
        return self._connections

    async def listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop everybody and listen no more."""
        assert self._server is not None
        self._server.close()
        self.drop()
        await self._server.wait_closed()
        await asyncio.sleep(0)

    def drop(self) -> None:
        """Cut all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    def send(self, method: str, *params: Any) -> None:
        """Send a notification to everybody."""
        for writer in self._writers:
            writer.write(line(method, *params))

    def set_job(self, job: Job) -> None:
        self.job = job
        self.send("mining.notify", *job.notify_params(clean=True))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        extranonce1 = bytes([1]) + self._connections.to_bytes(4, "big")
        self._writers[writer] = extranonce1
        with suppress(OSError):
            if self.greeting is not None:
                writer.write(self.greeting)
            while text := await reader.readline():
                self._request(writer, extranonce1, json.loads(text))
        del self._writers[writer]
        writer.transport.abort()

    def _request(
        self, writer: asyncio.StreamWriter, extranonce1: bytes, message: dict[str, Any]
    ) -> None:
        def answer(result: Any, error: Any = None) -> None:
            reply = {"id": message["id"], "result": result, "error": error}
            writer.write(json.dumps(reply).encode() + b"\n")

        params = message["params"]
        match message["method"]:
            case "mining.configure":
                answer({"version-rolling": True, "version-rolling.mask": f"{MASK:08x}"})
            case "mining.subscribe":
                answer([[["mining.notify", "1"]], extranonce1.hex(), 8])
            case "mining.extranonce.subscribe":
                answer(None, [20, "not supported", None])
            case "mining.authorize" if self.login_error is not None:
                answer(None, self.login_error)
            case "mining.authorize":
                self.logins.append(params[0])
                answer(True)
                writer.write(line("mining.set_difficulty", DIFF1_SHA256D / (self.target + 1)))
                writer.write(line("mining.notify", *self.job.notify_params(clean=True)))
            case "mining.submit":
                problem = self._judge(extranonce1, tuple(params))
                if problem is not None:
                    self.wrong.append(problem)
                    answer(None, [20, problem, None])
                    return
                self.valid.append(tuple(params))
                count = len(self.valid)
                writer.write(self.on_submit(count))
                if self.answers:
                    answer(*self.verdict(count))

    def _judge(self, extranonce1: bytes, params: tuple[str, ...]) -> str | None:
        _, job_id, extranonce2, ntime, nonce, version_bits = params
        if job_id != self.job.job_id:
            return "stale"
        key = (extranonce1.hex(), *params[1:])
        if key in self._seen:
            return "duplicate"
        self._seen.add(key)
        bits = int(version_bits, 16)
        if bits & ~MASK:
            return "version bits"
        header = self.job.header(
            extranonce1,
            bytes.fromhex(extranonce2),
            int(ntime, 16),
            int(nonce, 16),
            self.job.template.version & ~MASK | bits,
        )
        return None if sha256d_pow(header) <= self.target else "low"


def line(method: str, *params: Any) -> bytes:
    """One notification as a line."""
    message = {"id": None, "method": method, "params": list(params)}
    return json.dumps(message).encode() + b"\n"
