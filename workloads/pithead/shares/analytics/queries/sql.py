"""The questions to the columnar store, as text. Pure.

One dialect for all servers. Rollups may hold several
rows of one key until the store merges them, so they are always read with sum()
and max() over groups. Nothing but integers enters the text.

Sums of weights fit 64 bits: the shift of a coin is chosen so that a day of a
hundred times its network fits 63 (see `pithead.coins.weight`), and no span is
longer than 31 days of less than the network.
"""

from dataclasses import dataclass
from typing import Final

from pithead.shares.analytics.queries.spans import Buckets, Period, Rollup
from pithead.shares.analytics.reading import table
from pithead.store.columnar import Server

SUMS: Final = "sum(shares), sum(work), sum(stale), sum(duplicate), sum(low), sum(invalid)"
"""The columns of `Sums`, in order."""

SUM_COLUMNS: Final = 6

SOMEBODY: Final = "account != 0"
"""Account 0 has what was refused of logins that are nobody's."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked about; a worker has its account."""

    pool: int
    account: int | None = None
    worker: int | None = None

    @property
    def family(self) -> str:
        """The rollups that hold it in the fewest rows."""
        if self.worker is not None:
            return "worker"
        return "pool" if self.account is None else "account"


@dataclass(frozen=True, slots=True)
class Filter:
    """Only what came through a region, or was mined in a slot."""

    region: int | None = None
    slot: int | None = None


def chart(server: Server, target: Target, buckets: Buckets, only: Filter, group: str | None) -> str:
    """(start of bucket, [group,] sums) of the buckets that hold anything.

    `group` is `region` or `slot`.
    """
    start = f"intDiv(toUInt32(ts), {buckets.step_s}) * {buckets.step_s}"
    keys = f"{start} AS bucket" + (f", {group}" if group else "")
    names = "bucket" + (f", {group}" if group else "")
    source = _source(server, target.family, buckets.period.rollup)
    where = _where(target, buckets.period, only)
    return f"SELECT {keys}, {SUMS} FROM {source} WHERE {where} GROUP BY {names} ORDER BY {names}"


def sums(server: Server, target: Target, period: Period, group: str | None) -> str:
    """([group,] sums) over a period; one row without a group, also over nothing."""
    source = _source(server, target.family, period.rollup)
    where = _where(target, period, Filter())
    if group is None:
        return f"SELECT {SUMS} FROM {source} WHERE {where}"
    return (
        f"SELECT {group}, {SUMS} FROM {source} WHERE {where} "
        f"GROUP BY {group} ORDER BY sum(work) DESC, {group}"
    )


def top(server: Server, pool: int, period: Period, *, workers: bool, limit: int) -> str:
    """(account, [worker,] sums) with the most work first."""
    family, keys = ("worker", "account, worker") if workers else ("account", "account")
    where = _where(Target(pool), period, Filter())
    return (
        f"SELECT {keys}, {SUMS} FROM {_source(server, family, period.rollup)} "
        f"WHERE {where} AND {SOMEBODY} "
        f"GROUP BY {keys} ORDER BY sum(work) DESC, {keys} LIMIT {limit}"
    )


def recent_work(server: Server, target: Target, period: Period, newer_s: int) -> str:
    """(worker, account, shares, work, work from `newer_s` on) over minutes."""
    source = _source(server, "worker", period.rollup)
    return (
        f"SELECT worker, account, sum(shares), sum(work), sumIf(work, toUInt32(ts) >= {newer_s}) "
        f"FROM {source} WHERE {_where(target, period, Filter())} GROUP BY worker, account"
    )


def worker_sums(server: Server, target: Target, period: Period) -> str:
    """(worker, account, sums) over a period."""
    source = _source(server, "worker", period.rollup)
    where = _where(target, period, Filter())
    return f"SELECT worker, account, {SUMS} FROM {source} WHERE {where} GROUP BY worker, account"


def worker_ends(server: Server, target: Target, period: Period, limit: int) -> str:
    """(worker, account, last, best) of all workers of a period, at most `limit`."""
    source = _source(server, "worker", period.rollup)
    return (
        f"SELECT worker, account, toUInt32(max(last)), toUInt64(max(best)) FROM {source} "
        f"WHERE {_where(target, period, Filter())} AND {SOMEBODY} "
        f"GROUP BY worker, account LIMIT {limit}"
    )


def worker_names(target: Target) -> str:
    """(worker, account, name) of all workers that are known."""
    return (
        f"SELECT worker, account, any(name) FROM workers WHERE {_owner(target)} "
        "GROUP BY worker, account"
    )


def names_of(pool: int, workers: list[int]) -> str:
    """(worker, account, name) of some workers."""
    chosen = ", ".join(map(str, workers))
    return (
        f"SELECT worker, account, any(name) FROM workers WHERE pool = {pool} "
        f"AND worker IN ({chosen}) GROUP BY worker, account"
    )


def worker_known(target: Target) -> str:
    """(how many) workers of this id the account has: none when it was never seen."""
    return (
        f"SELECT count() AS found FROM workers WHERE {_owner(target)} AND worker = {target.worker}"
    )


def regions() -> str:
    """(region, name) of all regions."""
    return "SELECT region, any(name) FROM regions GROUP BY region ORDER BY region"


def height_work(server: Server, pool: int, above: int) -> str:
    """(height, shares, work) of a pool on all heights above one, ascending."""
    source = table(server, "height_m")
    return (
        f"SELECT height, sum(shares), sum(work) FROM {source} "
        f"WHERE pool = {pool} AND height > {above} GROUP BY height ORDER BY height"
    )


def _source(server: Server, family: str, rollup: Rollup) -> str:
    if rollup is Rollup.QUARTER_DAY and family != "worker":
        # Accounts and pools have few rows an hour, and no rollup of quarters.
        rollup = Rollup.HOUR
    return table(server, f"{family}_{rollup.value}")


def _owner(target: Target) -> str:
    owner = f"pool = {target.pool}"
    return owner if target.account is None else f"{owner} AND account = {target.account}"


def _where(target: Target, period: Period, only: Filter) -> str:
    parts = [_owner(target)]
    if target.worker is not None:
        parts.append(f"worker = {target.worker}")
    parts.append(f"ts >= toDateTime({period.start_s}, 'UTC')")
    # The running bucket began before now; what claims to be of the future is left out.
    parts.append(f"ts <= toDateTime({period.end_s}, 'UTC')")
    parts += [
        f"{column} = {value}"
        for column, value in (("region", only.region), ("slot", only.slot))
        if value is not None
    ]
    return " AND ".join(parts)
