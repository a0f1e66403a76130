"""The contract of a columnar database, on chdb and on a real ClickHouse server."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from pithead.store.columnar import Columnar, ColumnarAway, ColumnarRefused, Server, bound
from pithead.store.columnar.server import Reach, open_server
from tests.support.columnar import COLUMNAR
from tests.support.postgresql import free_port

BOTH = pytest.mark.columnar


@pytest.fixture
async def door(tmp_path: Path, columnar_kind: str) -> AsyncIterator[Columnar]:
    door = await COLUMNAR.door(tmp_path)
    await door.command("CREATE TABLE n (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    yield door
    await door.close()


async def _count(door: Columnar) -> int:
    return int((await door.query("SELECT count() AS n FROM n")).rows()[0][0])


@BOTH
async def test_rows_go_in_and_come_out_as_they_were(door: Columnar) -> None:
    texts = ["", "it's", "back\\slash", "\u00fcml\u00e4ut \U0001f600", "line\nbreak"]
    numbers = np.array([0, 1, 2**32, 2**63, 2**64 - 1], np.uint64)
    await door.insert("n", {"b": texts, "a": numbers})
    answer = await door.query("SELECT a, b FROM n ORDER BY a")
    assert answer.names == ("a", "b")
    assert answer.rows() == list(zip(numbers.tolist(), texts, strict=True))


@BOTH
async def test_an_answer_without_rows_is_empty(door: Columnar) -> None:
    answer = await door.query("SELECT a, b FROM n")
    assert (answer.names, len(answer), answer.rows(), list(answer["b"])) == ((), 0, [], [])


@BOTH
async def test_an_answer_of_many_blocks_is_whole(door: Columnar) -> None:
    answer = await door.query("SELECT number AS a, toString(number) AS b FROM numbers(200000)")
    assert np.array_equal(answer["a"], np.arange(200_000, dtype=np.uint64))
    assert answer["b"][199_999] == "199999"


@BOTH
async def test_a_parameter_is_a_value_whatever_is_in_it(door: Columnar) -> None:
    nasty = ["'; DROP TABLE n; --", "\\", "\\'", "{b}", "\0end", "tab\t"]
    await door.insert("n", {"a": np.arange(len(nasty), dtype=np.uint64), "b": nasty})
    for index, text in enumerate(nasty):
        found = await door.query("SELECT a FROM n WHERE b = {b}", {"b": text})
        assert found.rows() == [(index,)]
    found = await door.query(
        "SELECT a FROM n WHERE b IN {b} AND a < {a} ORDER BY a", {"b": nasty, "a": 3}
    )
    assert found.rows() == [(0,), (1,), (2,)]


@BOTH
async def test_inserts_and_questions_go_side_by_side(door: Columnar) -> None:
    async def insert(number: int) -> None:
        rows = np.full(1000, number, np.uint64)
        await door.insert("n", {"a": rows, "b": ["x"] * 1000})

    async def ask() -> None:
        assert await _count(door) % 1000 == 0

    await asyncio.gather(*(insert(n) for n in range(10)), *(ask() for _ in range(10)))
    assert await _count(door) == 10_000


@BOTH
async def test_a_refusal_carries_its_code_and_leaves_the_door_open(door: Columnar) -> None:
    with pytest.raises(ColumnarRefused) as refused:
        await door.query("SELECT a FROM nowhere")
    assert refused.value.code == 60
    with pytest.raises(ColumnarRefused) as refused:
        await door.insert("nowhere", {"a": np.zeros(1, np.uint64)})
    assert refused.value.code == 60
    await door.insert("n", {"a": np.zeros(1, np.uint64), "b": ["x"]})
    assert await _count(door) == 1


@BOTH
async def test_a_type_that_does_not_pass_is_refused(door: Columnar) -> None:
    with pytest.raises(TypeError, match="is Date"):
        await door.query("SELECT today() AS d")


@BOTH
async def test_what_was_written_is_there_when_it_is_opened_again(
    door: Columnar, tmp_path: Path
) -> None:
    await door.insert("n", {"a": np.arange(5, dtype=np.uint64), "b": ["x"] * 5})
    await door.close()
    await door.close()
    with pytest.raises(ColumnarAway):
        await door.query("SELECT 1 AS one")
    again = await COLUMNAR.door(tmp_path)
    assert await _count(again) == 5
    await again.close()


@BOTH
async def test_a_token_counts_once_where_the_server_knows_tokens(door: Columnar) -> None:
    if not door.server.modern:
        assert door.server < (22, 8)
        return
    await door.command(
        "CREATE TABLE once (a UInt64) ENGINE = MergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    rows = {"a": np.arange(5, dtype=np.uint64)}
    for token in ("one", "two", "one"):
        await door.insert("once", rows, token=token)
    assert (await door.query("SELECT count() AS n FROM once")).rows() == [(10,)]


@BOTH
async def test_a_question_that_takes_too_long_is_given_up(door: Columnar) -> None:
    with pytest.raises((ColumnarRefused, ColumnarAway)):
        await door.query("SELECT sum(sipHash64(number)) AS s FROM numbers(100000000000)", limit_s=1)
    assert await _count(door) == 0


@pytest.mark.gate
async def test_a_server_that_is_not_there_is_away() -> None:
    with pytest.raises(ColumnarAway, match="ClickHouse at"):
        await open_server(Reach("127.0.0.1", free_port()))


@pytest.mark.full
@pytest.mark.needs("clickhouse")
async def test_a_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    from tests.support.columnar import running_clickhouse

    with running_clickhouse() as server:
        door = await open_server(server.reach("here"))
        server.kill()
        with pytest.raises(ColumnarAway):
            await door.query("SELECT 1 AS one")
        server.start()
        assert (await door.query("SELECT 1 AS one")).rows() == [(1,)]
        await door.close()


@pytest.mark.full
@pytest.mark.needs("clickhouse")
async def test_a_wrong_password_is_refused_and_not_shown() -> None:
    from tests.support.columnar import running_clickhouse

    with running_clickhouse() as server:
        with pytest.raises(ColumnarRefused) as refused:
            await open_server(Reach("127.0.0.1", server.port, password="tell nobody"))
        assert "tell nobody" not in str(refused.value)


@pytest.mark.gate
@pytest.mark.needs("chdb")
async def test_a_configuration_in_the_working_directory_is_not_chdbs(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text("<clickhouse><path>/nowhere/</path></clickhouse>")
    code = (
        "import asyncio, pathlib\n"
        "from pithead.store.columnar.embedded import open_embedded\n"
        "async def main():\n"
        "    door = await open_embedded(pathlib.Path('db'))\n"
        "    print((await door.query('SELECT 1 AS one')).rows())\n"
        "    await door.close()\n"
        "asyncio.run(main())\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "[(1,)]\n", done.stderr


@pytest.mark.gate
@pytest.mark.parametrize(
    ("version", "modern"),
    [("18.16.1", False), ("22.7.9", False), ("22.8.1.2097", True), ("26.9.2.1", True)],
    ids=["debian", "before", "from", "chdb"],
)
def test_what_a_server_can_do_is_told_by_its_release(version: str, modern: bool) -> None:
    assert Server.of(version).modern is modern


@pytest.mark.gate
def test_a_parameter_that_is_not_given_is_an_error() -> None:
    with pytest.raises(KeyError):
        bound("SELECT {x}", {"y": 1})
