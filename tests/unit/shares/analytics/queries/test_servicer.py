"""Answers of the contract against a naive count of the same shares, on every store."""

import math
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from pithead.contracts import analytics_pb2 as contract
from pithead.shares.analytics.queries import asked
from pithead.shares.analytics.queries.luck import FoundBlock
from tests.support.charts import Event, counted
from tests.support.shares import BITS, POOL, address
from tests.unit.shares.analytics.queries.world import DAY_S, NOW_S, World, open_world, refused

pytestmark = pytest.mark.columnar

SPANS = {
    contract.SPAN_1H: (3600, 60, 60),
    contract.SPAN_24H: (DAY_S, 600, 3600),
    contract.SPAN_7D: (7 * DAY_S, 3600, DAY_S),
    contract.SPAN_30D: (30 * DAY_S, 21_600, DAY_S),
}
"""Length, a chart's step, and the bucket of sums."""
SLOTS = {0: "pplns", 1: "solo"}

Chosen = Callable[[Event], bool]


@pytest.fixture
async def world(tmp_path: Path, columnar_kind: str) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


def subject(**given: object) -> contract.Subject:
    return contract.Subject(pool=POOL, **given)  # type: ignore[arg-type]


def subjects(world: World) -> list[tuple[contract.Subject, Chosen]]:
    first, second = world.accounts[1], world.accounts[2]
    return [
        (subject(), anybody),
        (subject(account=first), owned(first)),
        (subject(login=address(2)), owned(second)),
        (subject(account=first, worker="Rig-3"), owned(first, "Rig-3")),
        (subject(account=second, worker=""), owned(second, "")),
    ]


def anybody(_: Event) -> bool:
    return True


def owned(account: int, worker: str | None = None) -> Chosen:
    return lambda one: one.account == account and worker in (None, one.worker)


def through(region: str, slot: int | None = None) -> Chosen:
    return lambda one: one.region == region and slot in (None, one.slot)


def both(first: Chosen, second: Chosen) -> Chosen:
    return lambda one: first(one) and second(one)


def sums_of(total: contract.Summary) -> list[int]:
    rejects = total.rejects
    return [
        total.shares,
        total.work,
        rejects.stale,
        rejects.duplicate,
        rejects.low,
        rejects.invalid,
    ]


async def test_charts_hold_every_share_in_its_bucket(world: World) -> None:
    await world.load(world.some())
    shift = world.pool.params.shift
    for span, (length_s, step_s, _) in SPANS.items():
        for given, chosen in subjects(world):
            reply = await world.stub.Hashrate(contract.HashrateRequest(subject=given, span=span))
            assert (reply.step_s, reply.points) == (step_s, length_s // step_s)
            (series,) = reply.series
            for point in range(reply.points):
                start_s = reply.start_s + point * step_s
                inside = [one for one in world.events if start_s <= one.t_s < start_s + step_s]
                expected = counted(inside, chosen)
                assert [
                    series.shares[point],
                    series.work[point],
                    series.stale[point],
                    series.duplicate[point],
                    series.low[point],
                    series.invalid[point],
                ] == expected, (span, given, point)
                seconds = step_s if point < reply.points - 1 else reply.running_s
                assert math.isclose(series.hashrate[point], (expected[1] << shift) / seconds)
                assert math.isclose(series.error[point], max(expected[0], 1) ** -0.5)
            assert reply.start_s + (reply.points - 1) * step_s + reply.running_s == NOW_S
            covered = [one for one in world.events if one.t_s >= reply.start_s]
            assert sums_of(series.total) == counted(covered, chosen)
            assert math.isclose(
                series.total.hashrate,
                (series.total.work << shift) / (NOW_S - reply.start_s),
            )


async def test_a_chart_by_region_or_scheme_adds_up_to_the_whole(world: World) -> None:
    await world.load(world.some())
    for given, chosen in subjects(world):
        whole = await world.stub.Hashrate(
            contract.HashrateRequest(subject=given, span=contract.SPAN_30D)
        )
        by_region = await world.stub.Hashrate(
            contract.HashrateRequest(subject=given, span=contract.SPAN_30D, by=contract.BY_REGION)
        )
        assert {one.region for one in by_region.series} == {"eu", "us", "ap"}
        by_scheme = await world.stub.Hashrate(
            contract.HashrateRequest(subject=given, span=contract.SPAN_30D, by=contract.BY_SCHEME)
        )
        assert {one.slot: one.scheme for one in by_scheme.series} == SLOTS
        for parts in (by_region, by_scheme):
            for point, work in enumerate(whole.series[0].work):
                assert work == sum(one.work[point] for one in parts.series)
        for series in by_region.series:
            only = await world.stub.Hashrate(
                contract.HashrateRequest(
                    subject=given, span=contract.SPAN_30D, region=series.region, slot=1
                )
            )
            expected = counted(
                [one for one in world.events if one.t_s >= whole.start_s],
                both(chosen, through(series.region, slot=1)),
            )
            assert sums_of(only.series[0].total) == expected


async def test_totals_tops_and_slices_are_those_of_a_recount(world: World) -> None:
    await world.load(world.some())
    for span, (length_s, _, bucket_s) in SPANS.items():
        from_s = NOW_S - NOW_S % bucket_s - (length_s // bucket_s - 1) * bucket_s
        inside = [one for one in world.events if one.t_s >= from_s]
        for given, chosen in subjects(world):
            reply = await world.stub.Totals(contract.TotalsRequest(subject=given, span=span))
            assert (reply.from_s, reply.until_s) == (from_s, NOW_S)
            assert sums_of(reply.total) == counted(inside, chosen)
            slices = await world.stub.Breakdown(
                contract.BreakdownRequest(subject=given, span=span, by=contract.BY_REGION)
            )
            for one in slices.slices:
                assert sums_of(one.total) == counted(inside, both(chosen, through(one.region)))
            works = [one.total.work for one in slices.slices]
            assert works == sorted(works, reverse=True)
            if sum(works):
                assert math.isclose(sum(one.part for one in slices.slices), 1.0)
        for workers in (False, True):
            await check_top(world, span, inside, workers=workers)


async def check_top(
    world: World, span: "contract.Span.ValueType", inside: list[Event], *, workers: bool
) -> None:
    reply = await world.stub.Top(
        contract.TopRequest(pool=POOL, span=span, workers=workers, limit=5)
    )
    logins = {account: address(number) for number, account in world.accounts.items()}
    keys = {(one.account, one.worker if workers else None) for one in inside}
    expected = sorted(
        (counted(inside, owned(*key))[1] for key in keys),
        reverse=True,
    )
    assert [one.total.work for one in reply.entries] == expected[:5]
    whole = counted(inside, anybody)[1]
    for one in reply.entries:
        assert one.login == logins[one.account]
        assert sums_of(one.total) == counted(
            inside,
            owned(one.account, one.worker if workers else None),
        )
        assert math.isclose(one.part, one.total.work / whole)


async def test_a_worker_table_is_that_of_a_recount(world: World) -> None:
    await world.load(world.some())
    shift = world.pool.params.shift
    until_s = (NOW_S - 10) // 60 * 60
    day_s = NOW_S - NOW_S % 3600 - 23 * 3600
    month_s = NOW_S - NOW_S % DAY_S - 29 * DAY_S
    for account in (world.accounts[1], None):
        given = subject() if account is None else subject(account=account)
        reply = await world.stub.Workers(contract.WorkersRequest(subject=given, limit=500))
        mine = [one for one in world.events if account in (None, one.account)]
        known = {(one.account, one.worker) for one in mine if one.t_s >= month_s}
        assert {(one.account, one.name) for one in reply.workers} == known
        assert reply.total == len(known) == reply.ok + reply.low + reply.offline
        assert reply.as_of_ms == NOW_S * 1000
        for row in reply.workers:
            own = [one for one in mine if (one.account, one.worker) == (row.account, row.name)]

            def work(since_s: int, end_s: int, own: list[Event] = own) -> list[int]:
                return counted(own, lambda event: since_s <= event.t_s < end_s)

            day = work(day_s, NOW_S + 1)
            hour = work(until_s - 3600, until_s)
            newest = work(until_s - 600, until_s)
            assert math.isclose(row.hashrate_10m, (newest[1] << shift) / 600)
            assert math.isclose(row.hashrate_1h, (hour[1] << shift) / 3600)
            assert math.isclose(row.error_1h, max(hour[0], 1) ** -0.5)
            assert math.isclose(row.hashrate_24h, (day[1] << shift) / (NOW_S - day_s))
            rejects = row.rejects
            assert [
                row.shares,
                rejects.stale,
                rejects.duplicate,
                rejects.low,
                rejects.invalid,
            ] == [day[0], *day[2:]]
            assert math.isclose(row.reject_rate, sum(day[2:]) / max(1, day[0] + sum(day[2:])))
            month = [one for one in own if one.t_s >= month_s]
            assert row.last_seen_s == max(one.t_s for one in month)
            assert row.best == max(one.achieved for one in month)
            silent = NOW_S - row.last_seen_s > 900
            assert (row.state == contract.WORKER_STATE_OFFLINE) == silent


async def test_pages_of_workers_are_searched_sorted_and_counted(world: World) -> None:
    await world.load(world.some())
    stub, given = world.stub, subject(account=world.accounts[1])
    names = [f"Rig-{number}" for number in range(1, 12)]
    whole = await stub.Workers(contract.WorkersRequest(subject=given, search="rig-1", limit=500))
    assert [one.name for one in whole.workers] == ["Rig-1", "Rig-10", "Rig-11"]
    found = []
    for offset in range(0, 12, 5):
        reply = await stub.Workers(
            contract.WorkersRequest(
                subject=given,
                sort=contract.WORKER_SORT_SHARES,
                descending=True,
                offset=offset,
                limit=5,
            )
        )
        assert reply.total == 12
        found += [(one.shares, one.name) for one in reply.workers]
    assert [shares for shares, _ in found] == sorted((one for one, _ in found), reverse=True)
    assert sorted(name for _, name in found) == sorted(["", *names])
    offline = await stub.Workers(
        contract.WorkersRequest(subject=given, state=contract.WORKER_STATE_OFFLINE)
    )
    assert offline.total == offline.offline == len(offline.workers)
    by_login = await stub.Workers(contract.WorkersRequest(subject=subject(login=address(1))))
    assert {one.login for one in by_login.workers} == {address(1)}


async def test_a_worker_that_did_nothing_lately_has_an_empty_chart(world: World) -> None:
    account = world.accounts[1]
    await world.load([Event(NOW_S - 2 * DAY_S, account, "old")])
    reply = await world.stub.Hashrate(
        contract.HashrateRequest(
            subject=subject(account=account, worker="old"), span=contract.SPAN_1H
        )
    )
    assert sum(reply.series[0].shares) == 0


async def test_a_worker_that_is_new_has_its_name_in_the_next_table(world: World) -> None:
    account = world.accounts[1]
    await world.load([Event(NOW_S - 60, account, "first")])
    request = contract.WorkersRequest(subject=subject(account=account))
    assert [one.name for one in (await world.stub.Workers(request)).workers] == ["first"]
    await world.load([Event(NOW_S - 30, account, "another")])
    world.now_s += 90
    reply = await world.stub.Workers(request)
    assert [one.name for one in reply.workers] == ["another", "first"]


async def test_late_shares_are_shown_in_their_own_bucket(world: World) -> None:
    account = world.accounts[1]
    await world.load([Event(NOW_S - 60, account, "a", weight=5)])
    request = contract.HashrateRequest(subject=subject(), span=contract.SPAN_1H)
    before = await world.stub.Hashrate(request)
    await world.load([Event(NOW_S - 1800, account, "a", weight=7)])
    # Kept answers are a few seconds old at most.
    world.now_s += 20
    after = await world.stub.Hashrate(request)
    added = {
        after.start_s + point * 60: work for point, work in enumerate(after.series[0].work) if work
    }
    assert sum(before.series[0].work) == 5
    assert added == {(NOW_S - 60) // 60 * 60: 5, (NOW_S - 1800) // 60 * 60: 7}


async def test_refused_shares_of_nobody_known_count_for_the_pool_alone(world: World) -> None:
    await world.load([Event(NOW_S - 60, 0, "", reason=5, count=3)])
    span = contract.SPAN_1H
    totals = await world.stub.Totals(contract.TotalsRequest(subject=subject(), span=span))
    assert sums_of(totals.total) == [0, 0, 0, 0, 0, 3]
    assert (await world.stub.Workers(contract.WorkersRequest(subject=subject()))).total == 0
    assert not (await world.stub.Top(contract.TopRequest(pool=POOL, span=span))).entries


async def test_shares_of_the_future_are_left_out(world: World) -> None:
    await world.load([Event(NOW_S + 3 * 3600, world.accounts[1], "a", weight=5)])
    for span in SPANS:
        reply = await world.stub.Hashrate(contract.HashrateRequest(subject=subject(), span=span))
        assert sum(reply.series[0].work) == 0


async def test_an_empty_store_gives_empty_answers(world: World) -> None:
    chart = await world.stub.Hashrate(
        contract.HashrateRequest(subject=subject(), span=contract.SPAN_24H)
    )
    assert list(chart.series[0].work) == [0] * 144
    assert set(chart.series[0].error) == {1.0}
    parts = await world.stub.Hashrate(
        contract.HashrateRequest(subject=subject(), span=contract.SPAN_24H, by=contract.BY_REGION)
    )
    assert not parts.series
    assert (await world.stub.Workers(contract.WorkersRequest(subject=subject()))).total == 0
    span = contract.SPAN_7D
    totals = await world.stub.Totals(contract.TotalsRequest(subject=subject(), span=span))
    assert sums_of(totals.total) == [0] * 6
    assert not (await world.stub.Top(contract.TopRequest(pool=POOL, span=span))).entries
    slices = await world.stub.Breakdown(
        contract.BreakdownRequest(subject=subject(), span=span, by=contract.BY_SCHEME)
    )
    assert not slices.slices
    rounds = await world.stub.Rounds(contract.RoundsRequest(pool=POOL))
    assert (len(rounds.rounds), rounds.luck, rounds.current.effort) == (0, 0.0, 0.0)


async def test_rounds_are_those_of_a_recount(world: World) -> None:
    await world.load(world.some())
    world.chain.found = [
        FoundBlock(height.to_bytes(32, "big"), height, BITS, height * 1000, orphaned=height == 300)
        for height in (100, 300, 500, 501, 700)
    ]
    reply = await world.stub.Rounds(contract.RoundsRequest(pool=POOL))
    ends = [0, 100, 500, 501, 700, 1 << 30]
    made = [one for one in world.events if not one.reason]
    expected = {
        height: sum(one.weight for one in made if above < one.height <= height)
        for above, height in pairwise(ends)
    }
    assert [(one.height, int(one.work)) for one in reply.rounds] == [
        (height, expected.get(height, 0)) for height in (700, 501, 500, 300, 100)
    ]
    assert int(reply.current.work) == expected[1 << 30]
    assert reply.blocks == sum(one.counted for one in reply.rounds)
    assert math.isclose(reply.luck, reply.blocks / reply.expected)
    newest = await world.stub.Rounds(contract.RoundsRequest(pool=POOL, blocks=1))
    assert [one.height for one in newest.rounds] == [700]
    assert newest.rounds[0] == reply.rounds[0]


async def test_what_is_not_there_or_makes_no_sense_is_refused_in_a_sentence(world: World) -> None:
    account = world.accounts[1]
    await world.load([Event(NOW_S - 60, account, "a")])
    stub, span = world.stub, contract.SPAN_1H
    wrong = grpc.StatusCode.INVALID_ARGUMENT
    missing = grpc.StatusCode.NOT_FOUND

    def chart(**given: object) -> object:
        defaults: dict[str, object] = {"subject": subject(), "span": span}
        return stub.Hashrate(contract.HashrateRequest(**(defaults | given)))  # type: ignore[arg-type]

    def workers(**given: object) -> object:
        return stub.Workers(contract.WorkersRequest(subject=subject(), **given))  # type: ignore[arg-type]

    for call, code, words in (
        (chart(span=0), wrong, "SPAN_24H"),
        (chart(subject=contract.Subject()), wrong, "poolId"),
        (chart(subject=contract.Subject(pool="other")), missing, POOL),
        (chart(subject=subject(account=99)), missing, "account 99"),
        (chart(subject=subject(account=(1 << 64) - 1)), missing, "account 18"),
        (chart(subject=subject(login=address(9))), missing, address(9)),
        (chart(subject=subject(login="")), wrong, "login"),
        (chart(subject=subject(worker="a")), wrong, "account"),
        (chart(subject=subject(account=account, worker="b")), missing, "'b'"),
        (chart(subject=subject(account=account, worker="x" * 300)), wrong, "256"),
        (
            stub.Totals(
                contract.TotalsRequest(subject=subject(account=account, worker="b"), span=span)
            ),
            missing,
            "'b'",
        ),
        (
            stub.Breakdown(
                contract.BreakdownRequest(
                    subject=subject(account=account, worker="b"), span=span, by=contract.BY_REGION
                )
            ),
            missing,
            "'b'",
        ),
        (chart(region="moon"), missing, "eu"),
        (chart(slot=256), wrong, "255"),
        (chart(by=9), wrong, "by"),
        (workers(limit=501), wrong, "500"),
        (workers(sort=50), wrong, "sort"),
        (workers(state=50), wrong, "state"),
        (
            stub.Workers(contract.WorkersRequest(subject=subject(account=account, worker="a"))),
            wrong,
            "worker",
        ),
        (stub.Top(contract.TopRequest(pool=POOL, span=span, limit=101)), wrong, "100"),
        (
            stub.Breakdown(contract.BreakdownRequest(subject=subject(), span=span)),
            wrong,
            "BY_REGION",
        ),
        (stub.Rounds(contract.RoundsRequest(pool=POOL, blocks=501)), wrong, "500"),
        (stub.WindowShare(contract.WindowShareRequest(subject=subject())), wrong, "account"),
    ):
        assert (found := await refused(call))[0] is code, (words, found)
        assert words in found[1], found


def test_every_span_of_the_contract_can_be_asked_for() -> None:
    assert set(asked.SPANS) == set(contract.Span.values()) - {contract.SPAN_UNSPECIFIED}
    assert set(asked.GROUPS) == set(contract.By.values())
