"""A pool loses its share log and is still proven; what was falsified is named.

`pithead up` mines on the built-in chain until blocks are split, archived and old
minutes merged. The log of shares is deleted then, as if its disk were lost, and the
pool goes on. Audit, verify and replay stand on the archive; afterwards a cell, an
archived height and a split are changed behind the triggers' back.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.manifests import variant
from tests.support.pool import RunningPool, free_port, pithead

pytestmark = [pytest.mark.gate, pytest.mark.timeout(300)]

MERGED_HEIGHT = 5
"""Height below which minutes must have been merged before the log goes."""

LIMIT_S = 90.0


def ask(data: Path, service: str, query: str) -> Any:
    """The first value of a question to a service's database, None without a row."""
    address = f"file:{data}/db/{service}.db?mode=ro"
    with sqlite3.connect(address, uri=True, timeout=10) as connection:
        row = connection.execute(query).fetchone()
    connection.close()
    return row[0] if row is not None else None


def change(data: Path, service: str, table: str, statement: str) -> None:
    """Change a row behind its triggers, as somebody with the file can."""
    with sqlite3.connect(data / "db" / f"{service}.db") as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)
        ).fetchall()
        for (name,) in names:
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount >= 1
    connection.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def proves(data: Path, *arguments: str) -> str:
    """Run a command over the pool that must find nothing; what it said."""
    done = pithead(*arguments, "--data", str(data))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def audited(data: Path) -> dict[str, Any]:
    """What `pithead audit` finds, by look."""
    done = pithead("audit", "--data", str(data), "-o", "json")
    return {look["name"]: look for look in json.loads(done.stdout)["looks"]}


def final_splits(data: Path) -> int:
    query = "SELECT count(*) FROM splits WHERE final AND archive_hash IS NOT NULL"
    return int(ask(data, "rewards", query))


def test_a_pool_without_its_log_is_proven_by_the_archive(tmp_path: Path) -> None:
    def quick(objects: dict[str, dict[str, Any]]) -> None:
        objects["CoinEndpoint"]["spec"]["devchain"] = {
            "hashesPerBlock": 20_000,
            "rpcPort": free_port(),
        }
        objects["RewardScheme"]["spec"]["pplns"]["window"] = {"networkFactor": 1}
        objects["MiningPool"]["spec"]["listeners"][0]["port"] = free_port()

    data = tmp_path / "data"
    with RunningPool(variant("quickstart", tmp_path / "manifests", quick), data) as pool:
        pool.wait_ready()
        merged = "SELECT height FROM compactions"
        until(lambda: (ask(data, "shares", merged) or 0) > MERGED_HEIGHT, "no minutes were merged")
        until(lambda: final_splits(data) > MERGED_HEIGHT, "no splits")
        pool.stop()
        lose_log(data)
        before = final_splits(data)
        pool.start()
        pool.wait_ready()
        until(lambda: final_splits(data) > before, "no split after the log was lost")
        assert "the archive stands in" in proves(data, "audit")
        pool.stop()
        verified = proves(data, "shares", "verify")
        assert "the archive stands in" in verified
        assert "charts of default.quickstart compared" in verified
        into = str(tmp_path / "built.db")
        assert "built from the archive" in proves(data, "shares", "replay", "--into", into)
        check_falsified(pool, data)


def lose_log(data: Path) -> None:
    lost = list((data / "log").glob("shares.*"))
    assert lost
    for topic in lost:
        shutil.rmtree(topic)


def check_falsified(pool: RunningPool, data: Path) -> None:
    """Change a split, then a cell and an archived height; each is named."""
    hashed = "SELECT hash FROM splits WHERE final AND archive_hash IS NOT NULL LIMIT 1"
    change(
        data,
        "rewards",
        "split_shares",
        f"UPDATE split_shares SET amount = amount + 1 WHERE hash = ({hashed})",
    )
    height = ask(data, "shares", "SELECT min(first_height) FROM archives WHERE cells > 0")
    change(
        data,
        "shares",
        "cells",
        f"UPDATE cells SET weight = weight + 1 WHERE height = {height}",
    )
    change(
        data,
        "shares",
        "archives",
        f"UPDATE archives SET weights = '{{}}' WHERE first_height = {height + 1}",
    )
    done = pithead("shares", "verify", "--data", str(data), "-o", "json")
    assert done.returncode == 1
    (told,) = json.loads(done.stdout)["pools"]
    cells = [one for one in told["differences"] if one["what"] == "cell"]
    assert {one["height"] for one in cells} == {height}
    assert all(one["login"] for one in cells)
    archive = [one["text"] for one in told["differences"] if one["what"] == "archive"]
    assert any(f"height {height + 1}" in text for text in archive)
    pool.start()
    pool.wait_ready()
    looks = audited(data)
    assert looks["cells"]["differences"]
    assert looks["archive"]["differences"]
    splits = looks["splits of devchain/regtest"]["differences"]
    assert any("parts add up to" in one or "split" in one for one in splits)
