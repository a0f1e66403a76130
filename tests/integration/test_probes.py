"""Probes of the hub's services over their real databases."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pithead.config import (
    CoinSettings,
    HealthSettings,
    LedgerSettings,
    LogSettings,
    NodeSettings,
    PayoutPolicy,
    PayoutsSettings,
    PoolSettings,
    RewardsSettings,
    SharesSettings,
    SlotSettings,
)
from pithead.ledger.service import run as run_ledger
from pithead.payouts.service import run as run_payouts
from pithead.rewards.service import run as run_rewards
from pithead.shares.service import run as run_shares
from pithead.store import watch
from pithead.store.migrate import migrate
from tests.support.doors import peer, served
from tests.support.litecoind import free_port

pytestmark = pytest.mark.gate

Running = Callable[[Any, asyncio.Event], Coroutine[Any, Any, None]]
LIMIT_S = 15.0
SLOT = SlotSettings(slot=0, scheme="main", revision="a", effective_height=0)
COIN = CoinSettings(
    name="dev",
    coin="devchain",
    network="regtest",
    # Nobody listens there: a node that is away is no reason not to be ready.
    nodes=(NodeSettings(name="main", url="http://127.0.0.1:9", user="u", password="p"),),
    poll_interval_ms=50,
)


def service(name: str, directory: Path, health: HealthSettings) -> tuple[Running, Any]:
    given: dict[str, Any] = {
        "database": f"sqlite+aiosqlite:///{directory / f'{name}.db'}",
        "serve": served(directory / f"{name}.sock"),
        "health": health,
    }
    if name == "ledger":
        return run_ledger, LedgerSettings(**given)
    if name == "payouts":
        given |= {each: peer(directory / f"{each}.sock") for each in ("shares", "ledger")}
        policy = PayoutPolicy(coin="dev", interval_s=60, threshold=1000, fee_book="p")
        return run_payouts, PayoutsSettings(**given, coins=(COIN,), policies=(policy,))
    given |= {
        "log": LogSettings(directory=directory / "log"),
        "coins": (COIN,),
        "pools": (
            PoolSettings(
                pool="p",
                name="p",
                coin="dev",
                regions=("eu",),
                payout_script="51",
                slots=(SLOT,) if name == "shares" else (),
            ),
        ),
    }
    if name == "shares":
        return run_shares, SharesSettings(**given)
    given |= {each: peer(directory / f"{each}.sock") for each in ("shares", "ledger")}
    return run_rewards, RewardsSettings(**given)


@asynccontextmanager
async def running(run: Running, settings: Any) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, LIMIT_S)


async def answer(port: int, path: str = "/readyz") -> tuple[int, str]:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as reply,
        ):
            return reply.status, await reply.text()
    except aiohttp.ClientConnectorError:
        return 0, ""


async def until(port: int, status: int, word: str) -> None:
    said: tuple[int, str] = (0, "")
    try:
        async with asyncio.timeout(LIMIT_S):
            while (said := await answer(port))[0] != status or word not in said[1]:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"wanted {status} {word!r}, last: {said}") from None


@pytest.mark.parametrize("name", ["ledger", "payouts", "rewards", "shares"])
async def test_service_is_ready_while_its_database_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.1)
    port = free_port()
    run, settings = service(name, tmp_path, HealthSettings(host="127.0.0.1", port=port))
    await migrate(settings.database, f"pithead.{name}")
    async with running(run, settings):
        await until(port, 200, "ready")
        assert (await answer(port, "/livez"))[0] == 200
        assert "python_info" in (await answer(port, "/metrics"))[1]
        with sqlite3.connect(tmp_path / f"{name}.db") as database:
            found = database.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            database.execute("UPDATE alembic_version SET version_num = '9999'")
        await until(port, 503, "database: ")
        assert "newer than this Pithead knows" in (await answer(port))[1]
        assert (await answer(port, "/livez"))[0] == 200
        with sqlite3.connect(tmp_path / f"{name}.db") as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (found,))
        await until(port, 200, "ready")


@pytest.mark.parametrize("name", ["ledger", "payouts", "rewards", "shares"])
async def test_service_that_waits_for_its_database_lives_and_is_not_ready(
    name: str, tmp_path: Path
) -> None:
    port = free_port()
    run, settings = service(name, tmp_path / "absent", HealthSettings(host="127.0.0.1", port=port))
    async with running(run, settings):
        await until(port, 503, "starting")
        assert (await answer(port, "/livez"))[0] == 200
