"""Miners that submit at a steady rate, move on when an edge is gone, and remember each answer.

A connection has an account of its own for good and a new worker name each time it logs in, so
what was heard is compared with what was credited login by login. Weight is 1 and every submit is
another header: every submit that an edge can judge is a share.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, cast

import msgspec

from pithead.coins.params import ChainParams
from tests.support.edge import address

OTHER = 20
LOGIN_LIMIT_S = 6.0
ANSWER_LIMIT_S = 12.0
"""Beyond the edges' own patience with the log."""
AGAIN_S = 0.2
CATCH_UP_S = 3.0

Login = tuple[int, int]
"""Account number and how many times it had logged in before."""


@dataclass
class Heard:
    """What the miners heard, by login."""

    true: Counter[Login] = field(default_factory=Counter)
    unknown: Counter[Login] = field(default_factory=Counter)
    """Error 20 or no answer at all: these may have been credited."""
    refused: Counter[int] = field(default_factory=Counter)
    """By code."""
    logins: int = 0


class Miner(asyncio.Protocol):
    """One connection; one share in flight."""

    def __init__(self, params: ChainParams, login: Login, heard: Heard, interval_s: float) -> None:
        self.login = login
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.working: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._user = f"{address(params, login[0])}.{login[1]}"
        self._heard = heard
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._kept = b""
        self._numbers = itertools.count()
        self._job: tuple[str, str] | None = None
        self._waiting: int | None = None
        self._sent_s = 0.0
        self._due_s = 0.0
        self._ending = False
        self._timer: asyncio.TimerHandle | None = None
        self._connected = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._connected = True
        self._say({"id": "a", "method": "mining.subscribe", "params": ["campaign"]})
        self._say({"id": "b", "method": "mining.authorize", "params": [self._user, "x"]})

    def data_received(self, data: bytes) -> None:
        """Take in answers and jobs."""
        *lines, self._kept = (self._kept + data).split(b"\n")
        for line in lines:
            self._take(msgspec.json.decode(line))

    def connection_lost(self, error: Exception | None) -> None:
        """What is in flight may or may not have been credited."""
        self._cancel_timer()
        if self._waiting is not None:
            self._heard.unknown[self.login] += 1
            self._waiting = None
        for future in (self.closed, self.working):
            if not future.done():
                future.set_result(None)

    def end(self) -> None:
        """Submit nothing more; close when the last answer is there."""
        self._ending = True
        self._cancel_timer()
        if self._waiting is None:
            self._transport.close()

    def overdue(self, now_s: float) -> bool:
        """Tell whether an answer stays away for longer than an edge may take."""
        return self._waiting is not None and now_s - self._sent_s > ANSWER_LIMIT_S

    def abandon(self) -> None:
        """Hang up."""
        if self._connected:
            self._transport.abort()
        elif not self.closed.done():
            self.closed.set_result(None)

    def _take(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method == "mining.notify":
            self._job = (message["params"][0], message["params"][7])
            if not self.working.done():
                self.working.set_result(None)
                self._due_s = self._loop.time()
                self._submit()
        elif method == "client.reconnect":
            self.end()
        elif message.get("id") == "b" and message.get("result") is not True:
            self._transport.close()
        elif isinstance(message.get("id"), int) and message["id"] == self._waiting:
            self._answered(message)

    def _answered(self, message: dict[str, Any]) -> None:
        self._waiting = None
        if message.get("result") is True:
            self._heard.true[self.login] += 1
        else:
            code = message["error"][0]
            self._heard.refused[code] += 1
            if code == OTHER:
                self._heard.unknown[self.login] += 1
        if self._ending:
            self._transport.close()
            return
        now_s = self._loop.time()
        # Who was held up catches up, as far as that is not a burst: a steady load is meant.
        self._due_s = max(self._due_s + self._interval_s, now_s - CATCH_UP_S)
        if self._due_s <= now_s:
            self._submit()
        else:
            self._timer = self._loop.call_at(self._due_s, self._submit)

    def _submit(self) -> None:
        if self._job is None or self._ending or self._transport.is_closing():
            return
        self._waiting = next(self._numbers)
        self._sent_s = self._loop.time()
        job, ntime = self._job
        params = [self._user, job, f"{self._waiting:016x}", ntime, "00000000"]
        self._say({"id": self._waiting, "method": "mining.submit", "params": params})

    def _say(self, message: dict[str, Any]) -> None:
        self._transport.write(msgspec.json.encode(message) + b"\n")

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass
class Region:
    """Miners of one region and the ports of its edges."""

    ports: Sequence[int]
    accounts: range
    rate: float
    """Shares a second of all its miners together."""


async def mine(
    params: ChainParams, region: Region, account: int, heard: Heard, stop: asyncio.Event
) -> None:
    """Keep one account connected to one of the region's edges until `stop`."""
    chance = Random(account)
    interval_s = len(region.accounts) / region.rate
    loop = asyncio.get_running_loop()
    for turn in itertools.count():
        if stop.is_set():
            return
        port = chance.choice(region.ports)
        heard.logins += 1
        miner = Miner(params, (account, turn), heard, interval_s)
        try:
            async with asyncio.timeout(LOGIN_LIMIT_S):
                await loop.create_connection(partial(_same, miner), "127.0.0.1", port)
                await asyncio.shield(miner.working)
        except TimeoutError:
            miner.abandon()
        except OSError:
            await _wait(stop, AGAIN_S)
            continue
        while not miner.closed.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await asyncio.shield(miner.closed)
            if miner.overdue(loop.time()):
                miner.abandon()
            if stop.is_set() and not miner.closed.done():
                miner.end()
        await _wait(stop, chance.uniform(0, AGAIN_S))


def _same(miner: Miner) -> Miner:
    return miner


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
