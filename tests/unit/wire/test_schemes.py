"""Schemes told to a real rewards, and what fits into a result."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pithead.config import (
    CoinSettings,
    LogSettings,
    NodeSettings,
    PoolRegistration,
    PoolSettings,
    RewardsSettings,
    SchemeRegistration,
    SlotSettings,
    Unusable,
    WireSchemesSettings,
    store,
)
from pithead.process import TaskFailed
from pithead.rewards.service import run
from pithead.store.migrate import migrate
from pithead.wire.command import run_wire
from pithead.wire.schemes import tell_schemes, told
from tests.support.doors import peer, served

pytestmark = pytest.mark.gate

POOL, COIN = "mine.gold", "devchain/regtest"
PPLNS = '{"fee_ppm":10000,"method":"PPLNS","window":{"weight":"100"}}'


def wired(directory: Path, *, parameters: str = PPLNS) -> WireSchemesSettings:
    scheme = SchemeRegistration(name="main", method="PPLNS", parameters=parameters)
    return WireSchemesSettings(
        rewards=peer(directory / "rewards.sock"),
        pools=(PoolRegistration(pool=POOL, coin=COIN, schemes=(scheme,)),),
    )


@asynccontextmanager
async def rewards(directory: Path) -> AsyncIterator[None]:
    node = NodeSettings(name="main", url="http://127.0.0.1:9", user="u", password="p")
    settings = RewardsSettings(
        database=f"sqlite+aiosqlite:///{directory / 'rewards.db'}",
        serve=served(directory / "rewards.sock"),
        log=LogSettings(directory=directory / "log"),
        pools=(PoolSettings(pool=POOL, name="gold", coin="dev", regions=("eu",)),),
        coins=(CoinSettings(name="dev", coin="devchain", network="regtest", nodes=(node,)),),
        shares=peer(directory / "shares.sock"),
        ledger=peer(directory / "ledger.sock"),
    )
    await migrate(settings.database, "pithead.rewards")
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def test_slots_are_told_and_stay_when_asked_again(tmp_path: Path) -> None:
    async with rewards(tmp_path):
        first = await tell_schemes(wired(tmp_path), within_s=10)
        assert await tell_schemes(wired(tmp_path), within_s=10) == first
    (slot,) = first["slots"][POOL]
    assert (slot["slot"], slot["scheme"], slot["effective_height"]) == (0, "main", 0)
    assert len(slot["revision"]) == 64


async def test_scheme_that_rewards_refuses_is_unusable(tmp_path: Path) -> None:
    async with rewards(tmp_path):
        with pytest.raises(Unusable, match=f"pool {POOL}: "):
            await tell_schemes(wired(tmp_path, parameters="{}"), within_s=10)


async def test_rewards_that_starts_late_is_waited_for(tmp_path: Path) -> None:
    asking = asyncio.create_task(tell_schemes(wired(tmp_path), within_s=20))
    await asyncio.sleep(1)
    assert not asking.done()
    async with rewards(tmp_path):
        assert POOL in (await asking)["slots"]


async def test_rewards_that_is_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match="rewards does not answer: "):
        await tell_schemes(wired(tmp_path), within_s=0)


def test_command_leaves_the_sentence(tmp_path: Path) -> None:
    config, result = tmp_path / "settings.json", tmp_path / "result"
    store(config, wired(tmp_path))
    assert run_wire("schemes", config, result=result, within_s=0) == 1
    assert result.read_text().startswith("rewards does not answer: ")


def revisions(slot: int, count: int) -> list[SlotSettings]:
    return [
        SlotSettings(
            slot=slot, scheme=f"scheme-{slot}", revision=f"{n:064x}", effective_height=n * 100
        )
        for n in range(count)
    ]


def test_all_revisions_are_told_while_they_fit() -> None:
    slots = {"a": tuple(revisions(0, 10)), "b": tuple(revisions(0, 10))}
    assert told(slots) == {pool: list(table) for pool, table in slots.items()}


def test_oldest_revisions_give_way_and_the_two_newest_of_each_slot_stay() -> None:
    slots = {"a": (*revisions(0, 60), *revisions(1, 3)), "b": tuple(revisions(0, 2))}
    kept = told(slots)
    text = json.dumps({"slots": {p: [{**_plain(s)} for s in t] for p, t in kept.items()}})
    assert len(text) < 4096 * 1.05
    assert [each for each in kept["a"] if each.slot == 0][-1] == slots["a"][59]
    assert len([each for each in kept["a"] if each.slot == 0]) > 10
    assert [each for each in kept["a"] if each.slot == 1] == list(slots["a"][60:])
    assert kept["b"] == list(slots["b"])
    heights = [each.effective_height for each in kept["a"] if each.slot == 0]
    assert heights == list(range(heights[0], 6000, 100)), "no gap"


def _plain(slot: SlotSettings) -> dict[str, object]:
    return {name: getattr(slot, name) for name in slot.__struct_fields__}
