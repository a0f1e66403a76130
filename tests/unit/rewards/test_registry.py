"""Slots for ever, revisions from a height on, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pithead.rewards.database import Database
from pithead.rewards.registry import (
    SLOTS,
    CoinChanged,
    MethodChanged,
    Registry,
    Revision,
    SchemeSpec,
    SlotsExhausted,
    TipUnknown,
    revision_at,
)
from pithead.rewards.scheme import ParametersRefused, UnknownMethod, revision_of
from tests.unit.rewards.support import COIN, POOL, PPLNS, rewards_database

pytestmark = pytest.mark.databases

OTHER = PPLNS.replace('"100"', '"200"')
THIRD = PPLNS.replace('"100"', '"300"')


def spec(parameters: str = PPLNS, name: str = "main", method: str = "PPLNS") -> SchemeSpec:
    return SchemeSpec(name, method, parameters)


def at(height: int) -> Callable[[], Awaitable[int]]:
    async def tip() -> int:
        return height

    return tip


async def away() -> int:
    raise TipUnknown(POOL, "scripted")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with rewards_database(tmp_path) as opened:
        yield opened


def heights(table: list[Revision]) -> list[tuple[int, str, int]]:
    return [(row.slot, row.parameters, row.effective_height) for row in table]


async def test_a_first_revision_counts_from_height_zero_and_needs_no_node(
    database: Database,
) -> None:
    table = await Registry(database, 6).apply(POOL, COIN, [spec(), spec(name="b")], away, 1)
    assert heights(table) == [(0, PPLNS, 0), (1, PPLNS, 0)]
    assert table[0].revision == revision_of(PPLNS)


async def test_applying_the_same_again_changes_nothing(database: Database) -> None:
    registry = Registry(database, 6)
    first = await registry.apply(POOL, COIN, [spec()], away, 1)
    assert await registry.apply(POOL, COIN, [spec()], away, 2) == first


async def test_changed_parameters_count_after_the_notice_period(database: Database) -> None:
    registry = Registry(database, 6)
    await registry.apply(POOL, COIN, [spec()], away, 1)
    table = await registry.apply(POOL, COIN, [spec(OTHER)], at(100), 2)
    assert heights(table) == [(0, PPLNS, 0), (0, OTHER, 106)]
    assert revision_at(table, 0, 105) == table[0]
    assert revision_at(table, 0, 106) == table[1]
    assert revision_at(table, 7, 106) is None


async def test_a_change_before_the_last_one_counts_follows_it(database: Database) -> None:
    registry = Registry(database, 6)
    await registry.apply(POOL, COIN, [spec()], away, 1)
    await registry.apply(POOL, COIN, [spec(OTHER)], at(100), 2)
    table = await registry.apply(POOL, COIN, [spec(THIRD)], at(100), 3)
    back = await registry.apply(POOL, COIN, [spec()], at(200), 4)
    assert heights(table) == [(0, PPLNS, 0), (0, OTHER, 106), (0, THIRD, 107)]
    assert heights(back)[-1] == (0, PPLNS, 206)


async def test_a_change_without_a_tip_is_refused_and_changes_nothing(database: Database) -> None:
    registry = Registry(database, 6)
    before = await registry.apply(POOL, COIN, [spec()], away, 1)
    with pytest.raises(TipUnknown, match="apply again"):
        await registry.apply(POOL, COIN, [spec(OTHER), spec(name="new")], away, 2)
    assert await registry.apply(POOL, COIN, [], away, 3) == before


async def test_a_withdrawn_scheme_keeps_its_slot(database: Database) -> None:
    registry = Registry(database, 6)
    await registry.apply(POOL, COIN, [spec(name="a"), spec(name="b")], away, 1)
    table = await registry.apply(POOL, COIN, [spec(name="c")], away, 2)
    assert [(row.scheme, row.slot) for row in table] == [("a", 0), ("b", 1), ("c", 2)]


async def test_a_method_never_changes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(database, 6)
    before = await registry.apply(POOL, COIN, [spec()], away, 1)
    from pithead.rewards import pplns, scheme

    class Second(pplns.PplnsScheme):
        method = "SECOND"

    known = {**scheme.schemes(), "SECOND": Second()}
    monkeypatch.setattr(scheme, "schemes", lambda: known)
    with pytest.raises(MethodChanged, match="PPLNS for ever, not SECOND"):
        await registry.apply(POOL, COIN, [spec(name="new"), spec(method="SECOND")], at(5), 2)
    assert await registry.apply(POOL, COIN, [], away, 3) == before


async def test_a_pool_keeps_its_coin(database: Database) -> None:
    registry = Registry(database, 6)
    await registry.apply(POOL, COIN, [spec()], away, 1)
    with pytest.raises(CoinChanged):
        await registry.apply(POOL, "litecoin/regtest", [spec()], away, 2)


async def test_slots_end_at_one_byte(database: Database) -> None:
    registry = Registry(database, 6)
    full = [spec(name=f"s{number}") for number in range(SLOTS)]
    table = await registry.apply(POOL, COIN, full, away, 1)
    assert table[-1].slot == SLOTS - 1
    with pytest.raises(SlotsExhausted):
        await registry.apply(POOL, COIN, [spec(name="one more")], away, 2)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        pytest.param(spec(PPLNS + " "), ParametersRefused, id="not canonical"),
        pytest.param(spec(method="NONE"), UnknownMethod, id="unknown method"),
    ],
)
async def test_what_no_scheme_can_read_is_refused(
    database: Database, bad: SchemeSpec, error: type[Exception]
) -> None:
    registry = Registry(database, 6)
    with pytest.raises(error):
        await registry.apply(POOL, COIN, [spec(), bad], away, 1)
    assert await registry.apply(POOL, COIN, [], away, 1) == []


async def test_processes_that_apply_at_once_give_each_scheme_a_slot_of_its_own(
    database: Database, tmp_path: Path
) -> None:
    async with rewards_database(tmp_path) as other:
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                registry = Registry(other if number % 2 else database, 6)
                # Every scheme is applied twice, from both sides.
                specs = [spec(name=f"s{number // 2}"), spec(name=f"s{number // 2 + 1}")]
                group.create_task(registry.apply(POOL, COIN, specs, away, 1))
        table = await Registry(other, 6).apply(POOL, COIN, [spec(name="s0")], away, 1)
    assert [row.slot for row in table] == list(range(5))
    assert sorted(row.scheme for row in table) == [f"s{number}" for number in range(5)]
