"""A Stratum client for tests: says exactly what it is told to, and hashes for real."""

import asyncio
import json
import ssl
from typing import Any

from pithead.coins.hashing import pow_function
from pithead.coins.notify import NotifiedJob, parse_notify
from pithead.coins.params import ChainParams
from pithead.coins.weight import target_of_weight, weight_of_difficulty

ANSWER_TIMEOUT_S = 10.0


class StratumClient:
    """One connection; requests are numbered, notifications are kept in order."""

    def __init__(
        self, params: ChainParams, port: int, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.params = params
        self.port = port
        self.tls = tls
        self.user = ""
        self.jobs: list[NotifiedJob] = []
        self.difficulty = 0.0
        self.difficulties: dict[str, float] = {}
        self.notices: list[dict[str, Any]] = []
        self.extranonce1 = b""
        self.closed = asyncio.Event()
        self._pow = pow_function(params)
        self._next_id = 0
        self._answers: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._news = asyncio.Event()

    async def __aenter__(self) -> "StratumClient":
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls
        )
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._writer.close()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
        except ConnectionError:
            pass
        finally:
            self.closed.set()
            self._news.set()
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(ConnectionResetError("closed by the edge"))

    def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            future = self._answers.pop(message["id"], None)
            if future is not None and not future.done():
                future.set_result(message)
        elif message["method"] == "mining.set_difficulty":
            self.difficulty = message["params"][0]
        elif message["method"] == "mining.notify":
            job = parse_notify(message["params"])
            self.jobs.append(job)
            self.difficulties[job.job_id] = self.difficulty
        self.notices.append(message)
        self._news.set()

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    def ask(self, method: str, *params: Any) -> asyncio.Future[dict[str, Any]]:
        if self.closed.is_set():
            raise ConnectionResetError("closed by the edge")
        self._next_id += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._next_id] = future
        line = json.dumps({"id": self._next_id, "method": method, "params": params})
        self._writer.write(line.encode() + b"\n")
        return future

    async def call(self, method: str, *params: Any) -> dict[str, Any]:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await self.ask(method, *params)

    async def login(self, user: str, password: str = "x") -> dict[str, Any]:
        """Subscribe and authorize; returns the answer to authorize."""
        subscribed = await self.call("mining.subscribe", "test/1")
        self.extranonce1 = bytes.fromhex(subscribed["result"][1])
        self.user = user
        return await self.call("mining.authorize", user, password)

    async def until(self, condition: Any, limit_s: float = ANSWER_TIMEOUT_S) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def job(self) -> NotifiedJob:
        """Return the newest job, waiting for the first."""
        await self.until(lambda: self.jobs)
        return self.jobs[-1]

    def target(self, job: NotifiedJob) -> int:
        difficulty = self.difficulties[job.job_id]
        weight = weight_of_difficulty(str(difficulty), self.params)
        return target_of_weight(weight, self.params.shift)

    def solve(
        self, job: NotifiedJob, extranonce2: int = 0, first_nonce: int = 0, *, good: bool = True
    ) -> list[str]:
        """Return submit parameters of the first nonce that meets (or misses) the target."""
        target = self.target(job)
        extra = extranonce2.to_bytes(8, "big")
        header = job.header(self.extranonce1, extra, job.ntime, 0, job.version)[:76]
        nonce = first_nonce
        while (self._pow(header + nonce.to_bytes(4, "little")) <= target) is not good:
            nonce += 1
        return [self.user, job.job_id, extra.hex(), f"{job.ntime:08x}", f"{nonce:08x}"]

    async def submit(self, params: list[str]) -> dict[str, Any]:
        return await self.call("mining.submit", *params)
