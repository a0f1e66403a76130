"""Answers of the store made into messages of the contract. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pithead.contracts import analytics_pb2 as contract
from pithead.shares.analytics.queries import rates
from pithead.shares.analytics.queries.spans import Buckets, Period
from pithead.shares.analytics.queries.sql import SUM_COLUMNS
from pithead.shares.analytics.queries.tables import Page, WorkerTable
from pithead.store.columnar.door import Answer, Column, listed

Counts = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Titles:
    """Names of what a chart is cut by."""

    regions: Mapping[int, str]
    schemes: Mapping[int, str]

    def title(self, message: "contract.Series | contract.Slice", group: str, key: int) -> None:
        """Write the name of a group into a message that has fields for it."""
        if group == "region":
            message.region = self.regions.get(key, f"{key:08x}")
        else:
            message.slot = key
            message.scheme = self.schemes.get(key, "")


def numbers(answer: Answer, column: int) -> Counts:
    """A column of integers; an empty answer has none, and no columns either."""
    return as_counts(answer.columns[column]) if answer.columns else np.zeros(0, np.uint64)


def as_counts(column: Column) -> Counts:
    """Integers of any width as 64 bits."""
    return np.asarray(column).astype(np.uint64)


def texts(answer: Answer, column: int) -> list[str]:
    """A column of text."""
    return [str(value) for value in listed(answer.columns[column])] if answer.columns else []


def rejects_of(sums: Sequence[int]) -> contract.Rejects:
    """The last four of six sums."""
    stale, duplicate, low, invalid = sums[2:]
    return contract.Rejects(stale=stale, duplicate=duplicate, low=low, invalid=invalid)


def summary(sums: Sequence[int], seconds: float, shift: int) -> contract.Summary:
    """Six sums over some seconds."""
    return contract.Summary(
        hashrate=rates.hashrate(sums[1], seconds, shift),
        error=rates.relative_error(sums[0]),
        shares=sums[0],
        work=sums[1],
        rejects=rejects_of(sums),
    )


def hashrate_reply(
    answer: Answer, buckets: Buckets, shift: int, group: str | None, titles: Titles
) -> contract.HashrateReply:
    """A chart: (bucket, [group,] six sums) with gaps filled."""
    reply = contract.HashrateReply(
        start_s=buckets.period.start_s,
        step_s=buckets.step_s,
        points=buckets.points,
        running_s=buckets.running_s,
    )
    starts = numbers(answer, 0)
    first = 1 if group is None else 2
    columns = [numbers(answer, first + place) for place in range(SUM_COLUMNS)]
    if group is None:
        _series(reply.series.add(), starts, columns, buckets, shift)
        return reply
    keys = numbers(answer, 1)
    for key in np.unique(keys).tolist():
        rows = keys == key
        series = reply.series.add()
        titles.title(series, group, key)
        _series(series, starts[rows], [column[rows] for column in columns], buckets, shift)
    return reply


def _series(
    series: contract.Series,
    starts: Counts,
    columns: Sequence[Counts],
    buckets: Buckets,
    shift: int,
) -> None:
    filled = [buckets.fill(starts, column) for column in columns]
    shares, work, stale, duplicate, low, invalid = filled
    series.hashrate.extend(rates.hashrates(work, buckets.lengths_s, shift).tolist())
    series.error.extend(rates.relative_errors(shares).tolist())
    for field, column in (
        (series.shares, shares),
        (series.work, work),
        (series.stale, stale),
        (series.duplicate, duplicate),
        (series.low, low),
        (series.invalid, invalid),
    ):
        field.extend(column.tolist())
    # In Python's integers: a sum of sums must not wrap without a word.
    totals = [sum(column.tolist()) for column in filled]
    series.total.CopyFrom(summary(totals, buckets.period.seconds, shift))


def totals_reply(answer: Answer, period: Period, shift: int) -> contract.TotalsReply:
    """One row of six sums, or none."""
    return contract.TotalsReply(
        from_s=period.start_s,
        until_s=period.end_s,
        total=summary(_row(answer, 0, 0) if len(answer) else [0] * 6, period.seconds, shift),
    )


def breakdown_reply(
    answer: Answer, period: Period, shift: int, group: str, titles: Titles
) -> contract.BreakdownReply:
    """(group, six sums) with the most work first."""
    reply = contract.BreakdownReply(from_s=period.start_s, until_s=period.end_s)
    whole = sum(numbers(answer, 2).tolist())
    for row, key in enumerate(numbers(answer, 0).tolist()):
        sums = _row(answer, row, 1)
        piece = reply.slices.add(total=summary(sums, period.seconds, shift))
        piece.part = sums[1] / whole if whole else 0.0
        titles.title(piece, group, key)
    return reply


@dataclass(frozen=True, slots=True)
class TopRow:
    """One account, or worker of it, with six sums."""

    account: int
    worker: int | None
    sums: list[int]


def top_rows(answer: Answer, *, workers: bool) -> list[TopRow]:
    """(account, [worker,] six sums) by row."""
    first = 2 if workers else 1
    return [
        TopRow(
            account=int(numbers(answer, 0)[row]),
            worker=int(numbers(answer, 1)[row]) if workers else None,
            sums=_row(answer, row, first),
        )
        for row in range(len(answer))
    ]


def top_reply(
    rows: Sequence[TopRow],
    whole: int,
    period: Period,
    shift: int,
    logins: Mapping[int, str],
    names: Mapping[tuple[int, int], str],
) -> contract.TopReply:
    """`whole`: the pool's work; `names` by (worker, account)."""
    reply = contract.TopReply(from_s=period.start_s, until_s=period.end_s)
    for row in rows:
        name = "" if row.worker is None else names.get((row.worker, row.account), "")
        reply.entries.add(
            account=row.account,
            login=logins.get(row.account, ""),
            worker=name,
            total=summary(row.sums, period.seconds, shift),
            part=row.sums[1] / whole if whole else 0.0,
        )
    return reply


def workers_reply(
    table: WorkerTable, found: Page, logins: Mapping[int, str]
) -> contract.WorkersReply:
    """A page of a worker table."""
    reply = contract.WorkersReply(
        total=found.total,
        ok=found.states[rates.OK],
        low=found.states[rates.LOW],
        offline=found.states[rates.OFFLINE],
        as_of_ms=table.as_of_ms,
    )
    for row in found.rows.tolist():
        account = int(table.accounts[row])
        reply.workers.add(
            name=table.names[row],
            account=account,
            login=logins.get(account, ""),
            state=contract.WorkerState.ValueType(int(table.state[row])),
            hashrate_10m=table.hashrate_10m[row],
            hashrate_1h=table.hashrate_1h[row],
            hashrate_24h=table.hashrate_24h[row],
            error_1h=table.error_1h[row],
            shares=int(table.day.shares[row]),
            rejects=contract.Rejects(
                stale=int(table.day.stale[row]),
                duplicate=int(table.day.duplicate[row]),
                low=int(table.day.low[row]),
                invalid=int(table.day.invalid[row]),
            ),
            reject_rate=table.reject_rate[row],
            last_seen_s=int(table.last_seen_s[row]),
            best=int(table.best[row]),
        )
    return reply


def _row(answer: Answer, row: int, first: int) -> list[int]:
    return [int(answer.columns[first + place][row]) for place in range(SUM_COLUMNS)]
