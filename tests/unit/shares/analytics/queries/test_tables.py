"""Worker tables: joined, searched, sorted and paged, against plain Python."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pithead.shares.analytics.queries import rates
from pithead.shares.analytics.queries.tables import Roster, Seconds, Sort, WorkerTable, joined, page

pytestmark = pytest.mark.gate

NOW_S = 1_800_000_000

Part = tuple[NDArray[np.uint64], NDArray[np.uint64], list[NDArray[np.uint64]]]


@dataclass(frozen=True)
class Made:
    worker: int
    name: str
    newest: int = 0
    hour: int = 0
    day: int = 0
    shares: int = 0
    stale: int = 0
    seen_ago_s: int = 10
    best: int = 0


def table_of(workers: list[Made], account: int = 7) -> WorkerTable:
    def column(values: list[int]) -> NDArray[np.uint64]:
        return np.array(values, np.uint64)

    def part(made: list[Made], *columns: Callable[[Made], int]) -> Part:
        return (
            column([one.worker for one in made]),
            column([account] * len(made)),
            [column([read(one) for one in made]) for read in columns],
        )

    # The store answers in any order, and leaves out who did nothing.
    recent = [one for one in workers[::-1] if one.hour]
    day = [one for one in workers if one.day or one.stale]
    ends = part(workers, lambda one: NOW_S - one.seen_ago_s, lambda one: one.best)
    gone = Made(0, "somebody of last year")
    return joined(
        roster=Roster.of(
            column([one.worker for one in [*workers, gone]]),
            column([account] * (len(workers) + 1)),
            [one.name for one in [*workers, gone]],
        ),
        ends=ends,
        recent=part(recent, lambda _: 1, lambda one: one.hour, lambda one: one.newest),
        day=part(
            day,
            lambda one: one.shares,
            lambda one: one.day,
            lambda one: one.stale,
            lambda _: 0,
            lambda _: 0,
            lambda _: 0,
        ),
        covered=Seconds(600, 3600, 86_400),
        shift=0,
        now_ms=NOW_S * 1000,
    )


def names(table: WorkerTable, **asked: object) -> list[str]:
    defaults: dict[str, object] = {
        "search": "",
        "state": 0,
        "sort": Sort.NAME,
        "descending": False,
        "offset": 0,
        "limit": 500,
    }
    found = page(table, **(defaults | asked))  # type: ignore[arg-type]
    return [table.names[row] for row in found.rows]


def test_figures_of_a_worker_are_joined_by_its_id() -> None:
    table = table_of(
        [
            Made(2, "b", newest=600, hour=7200, day=86_400, shares=9, stale=1, best=40),
            Made(1, "a"),
        ]
    )
    assert table.names == ["a", "b"]
    assert table.hashrate_10m.tolist() == [0.0, 1.0]
    assert table.hashrate_1h.tolist() == [0.0, 2.0]
    assert table.hashrate_24h.tolist() == [0.0, 1.0]
    assert table.reject_rate.tolist() == [0.0, 0.1]
    assert table.best.tolist() == [0, 40]


def test_a_search_takes_part_of_a_name_in_any_case() -> None:
    table = table_of([Made(1, "Rig-A"), Made(2, "rig-b"), Made(3, "Straße")])
    assert names(table, search="RIG") == ["Rig-A", "rig-b"]
    assert names(table, search="STRASSE") == ["Straße"]
    assert names(table, search="none") == []


def test_an_unnamed_worker_is_shown_by_its_id_and_others_keep_their_places() -> None:
    def column(*values: int) -> NDArray[np.uint64]:
        return np.array(values, np.uint64)

    roster = Roster.of(column(5, 3), column(1, 1), ["b", "a"])
    assert roster.rows(column(3, 5, 4, 3), column(1, 1, 1, 2)).tolist() == [0, 1, -1, -1]
    more = roster.with_unnamed(column(255), column(1))
    assert more.names == ["00000000000000ff", "a", "b"]
    assert more.rows(column(255, 3, 5), column(1, 1, 1)).tolist() == [0, 1, 2]
    empty = Roster.of(column(), column(), [])
    assert empty.rows(column(1), column(1)).tolist() == [-1]


def test_states_are_counted_over_the_search_and_chosen_from_it() -> None:
    table = table_of([Made(1, "a1"), Made(2, "a2", seen_ago_s=9999), Made(3, "b", seen_ago_s=9999)])
    found = page(
        table,
        search="a",
        state=rates.OFFLINE,
        sort=Sort.NAME,
        descending=False,
        offset=0,
        limit=10,
    )
    assert [table.names[row] for row in found.rows] == ["a2"]
    assert (found.total, found.states) == (1, {rates.OK: 1, rates.LOW: 0, rates.OFFLINE: 1})


def test_an_empty_table_has_empty_pages() -> None:
    assert names(table_of([])) == []


MADE = st.lists(
    st.builds(
        Made,
        worker=st.integers(1, (1 << 64) - 1),
        name=st.sampled_from(["a", "B", "c1", "c2", "dd"]),
        newest=st.integers(0, 3),
        hour=st.integers(0, 3),
        day=st.integers(0, 3),
        shares=st.integers(0, 3),
        stale=st.integers(0, 3),
        seen_ago_s=st.integers(0, 2000),
        best=st.integers(0, 3),
    ),
    max_size=12,
    unique_by=lambda one: one.worker,
)
KEYS: dict[Sort, Callable[[Made], int]] = {
    Sort.NAME: lambda one: 0,
    Sort.HASHRATE_10M: lambda one: one.newest if one.hour else 0,
    Sort.HASHRATE_1H: lambda one: one.hour,
    Sort.HASHRATE_24H: lambda one: one.day if one.day or one.stale else 0,
    Sort.SHARES: lambda one: one.shares if one.day or one.stale else 0,
    Sort.LAST_SEEN: lambda one: -one.seen_ago_s,
    Sort.BEST: lambda one: one.best,
}


@given(made=MADE, sort=st.sampled_from(sorted(KEYS)), size=st.integers(1, 5))
def test_pages_together_are_the_whole_table_in_order(
    made: list[Made], sort: Sort, size: int
) -> None:
    table = table_of(made)
    for descending in (False, True):
        pages = [
            row
            for start in range(0, len(made) + size, size)
            for row in page(
                table,
                search="",
                state=0,
                sort=sort,
                descending=descending,
                offset=start,
                limit=size,
            ).rows.tolist()
        ]
        found = [int(table.workers[row]) for row in pages]
        by_name = sorted(made, key=lambda one: one.name.casefold())
        expected = [one.worker for one in by_name]
        if sort is Sort.NAME:
            shown = [table.names[row].casefold() for row in pages]
            assert shown == sorted(shown, reverse=descending)
            assert sorted(found) == sorted(expected)
            continue
        key = KEYS[sort]
        shown_keys = [key(next(one for one in made if one.worker == worker)) for worker in found]
        assert shown_keys == sorted(shown_keys, reverse=descending)
        assert sorted(found) == sorted(expected)
        # Equals stay in the order of names.
        for worth in set(shown_keys):
            among = [
                table.names[row].casefold()
                for row, value in zip(pages, shown_keys, strict=True)
                if value == worth
            ]
            assert among == sorted(among)
