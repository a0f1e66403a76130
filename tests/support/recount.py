"""An independent count of what the columnar tables must hold, in plain Python from batches."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.shares.analytics.reading import producer_id, region_id, table, worker_id
from pithead.store.columnar import Columnar

SECONDS = {"m": 60, "h": 3600, "q": 6 * 3600, "d": 86400}
KEYS = {
    "worker": ("pool", "account", "worker", "region", "slot"),
    "account": ("pool", "account", "region", "slot"),
    "pool": ("pool", "region", "slot"),
}
MEASURES = ("shares", "work", "stale", "duplicate", "low", "invalid", "best", "last")
REASONS = {1: "stale", 2: "duplicate", 3: "low"}

Counted = dict[str, dict[tuple[int, ...], tuple[int, ...]]]


def recount(
    batches: Iterable[ShareBatch], pool: str, pool_id: int, accounts: dict[str, int]
) -> Counted:
    """Rows of all tables by key, of batches that each count once."""
    seen: set[tuple[bytes, int]] = set()
    rollups: dict[str, dict[tuple[int, ...], dict[str, int]]] = defaultdict(
        lambda: defaultdict(lambda: dict.fromkeys(MEASURES, 0))
    )
    found: Counted = {"shares": {}, "rejects": {}, "height_m": {}}

    def add(second: int, ids: dict[str, int], measures: dict[str, int]) -> None:
        for name, keys in KEYS.items():
            for unit, seconds in SECONDS.items():
                if unit == "q" and name != "worker":
                    continue
                start = second - second % seconds
                row = rollups[f"{name}_{unit}"][(start, *(ids[key] for key in keys))]
                for measure, value in measures.items():
                    wins = measure in ("best", "last")
                    row[measure] = max(row[measure], value) if wins else row[measure] + value
                row["last"] = max(row["last"], second)

    for batch in batches:
        if (batch.producer, batch.sequence) in seen:
            continue
        seen.add((batch.producer, batch.sequence))

        def ids_of(login: int, batch: ShareBatch = batch) -> dict[str, int]:
            account = accounts.get(batch.account[login], 0)
            worker = worker_id(pool, account, batch.worker[login]) if account else 0
            return {
                "pool": pool_id,
                "account": account,
                "worker": worker,
                "region": region_id(batch.region),
                "slot": batch.slot[login],
            }

        origin = (producer_id(batch.producer), batch.sequence)
        for index, login in enumerate(batch.login):
            time_ms = batch.time_base_ms + batch.time_offset_ms[index]
            ids = ids_of(login)
            found["shares"][(*origin, index)] = (
                time_ms // 1000,
                time_ms % 1000,
                *ids.values(),
                batch.segments[batch.segment[index]].height,
                batch.weight[index],
                batch.serial[index],
                batch.flags[index] & 1,
            )
            place = (time_ms // 60_000 * 60, pool_id, batch.segments[batch.segment[index]].height)
            shares, work = found["height_m"].get(place, (0, 0))
            found["height_m"][place] = (shares + 1, work + batch.weight[index])
            last = login not in batch.login[index + 1 :]
            best = batch.best[login] if last else 0
            measures = {"shares": 1, "work": batch.weight[index], "best": best}
            add(time_ms // 1000, ids, measures)
        for index, reject in enumerate(batch.rejects):
            second = batch.time_base_ms // 1000
            ids = ids_of(reject.login)
            found["rejects"][(*origin, index)] = (
                second,
                *ids.values(),
                int(reject.reason),
                reject.count,
            )
            add(second, ids, {REASONS.get(reject.reason, "invalid"): reject.count})
    for name, rows in rollups.items():
        found[name] = {key: tuple(row[each] for each in MEASURES) for key, row in rows.items()}
    return found


async def read_all(door: Columnar) -> Counted:
    """What the columnar tables hold; a raw row that is there twice is an error."""
    found: Counted = {}
    columns = {
        "shares": "toUInt32(t) AS s, ms, pool, account, worker, region, slot, height, weight, "
        "serial, solved",
        "rejects": "toUInt32(t) AS s, pool, account, worker, region, slot, reason, count",
    }
    for name, wanted in columns.items():
        answer = await door.query(
            f"SELECT producer, seq, idx, {wanted} FROM {table(door.server, name)}"
        )
        rows = answer.rows()
        found[name] = {row[:3]: row[3:] for row in rows}
        assert len(rows) == len(found[name]), f"{name}: rows twice"
    heights = await door.query(
        "SELECT toUInt32(ts) AS s, pool, height, sum(shares) AS n, sum(work) AS w "
        f"FROM {table(door.server, 'height_m')} GROUP BY s, pool, height"
    )
    found["height_m"] = {row[:3]: row[3:] for row in heights.rows()}
    for name, keys in KEYS.items():
        for unit in SECONDS if name == "worker" else "mhd":
            found[f"{name}_{unit}"] = await _rollup(door, f"{name}_{unit}", keys)
    return found


async def _rollup(door: Columnar, name: str, keys: tuple[str, ...]) -> dict[Any, Any]:
    sums = ", ".join(f"sum({each}) AS {each}_n" for each in MEASURES[:6])
    answer = await door.query(
        f"SELECT toUInt32(ts) AS s, {', '.join(keys)}, {sums}, max(best) AS best_n, "
        f"toUInt32(max(last)) AS last_n FROM {table(door.server, name)} "
        f"GROUP BY s, {', '.join(keys)}"
    )
    return {row[: len(keys) + 1]: row[len(keys) + 1 :] for row in answer.rows()}


def differences(expected: Counted, found: Counted) -> list[str]:
    """What differs, by table, in words for a failing test."""
    told = []
    for name in sorted(expected.keys() | found.keys()):
        want, got = expected.get(name, {}), found.get(name, {})
        if want == got:
            continue
        wrong = [key for key in want.keys() & got.keys() if want[key] != got[key]]
        sample = [(key, want[key], got[key]) for key in wrong[:2]]
        told.append(
            f"{name}: {len(want.keys() - got.keys())} missing, "
            f"{len(got.keys() - want.keys())} too many, {len(wrong)} wrong: {sample}"
        )
    return told
