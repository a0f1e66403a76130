"""What is asked several times a second costs nothing for blocks that are at rest."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.rewards.database import blocks_to_judge, candidates_above
from pithead.rewards.splits import unbooked_entries, unsettled_blocks
from pithead.store import open_store, reading
from tests.support.databases import DATABASES
from tests.unit.rewards.support import COIN, POOL

pytestmark = pytest.mark.databases

Question = Callable[[AsyncConnection], Awaitable[object]]

QUESTIONS: dict[str, Question] = {
    "blocks to judge": lambda connection: blocks_to_judge(
        connection, COIN, scanned=100_000, ripe=99_900, limit=500
    ),
    "candidates": lambda connection: candidates_above(connection, COIN, 100, 50),
    "unsettled": lambda connection: unsettled_blocks(connection, POOL, 100),
    "unbooked": lambda connection: unbooked_entries(connection, 200),
}

AT_REST = ("(pool=?)", "(coin=?)", "SCAN blocks", "SCAN splits", "SCAN entries")
"""Plans that walk over the whole history of a pool or coin."""


@pytest.mark.gate
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
async def test_no_question_of_a_step_walks_over_the_whole_history(
    tmp_path: Path, question: Question
) -> None:
    engine = open_store(await DATABASES.migrated(tmp_path, "rewards"))
    asked: list[tuple[str, object]] = []

    def note(
        _connection: Connection, _cursor: object, statement: str, parameters: object, *_: object
    ) -> None:
        asked.append((statement, parameters))

    try:
        async with reading(engine) as connection:
            event.listen(engine.sync_engine, "before_cursor_execute", note)
            await question(connection)
            event.remove(engine.sync_engine, "before_cursor_execute", note)
            assert asked
            for statement, parameters in asked:
                plan = await connection.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {statement}",
                    parameters,  # type: ignore[arg-type]
                )
                steps = [str(step) for step in plan.scalars("detail")]
                assert not [step for step in steps if any(bad in step for bad in AT_REST)], steps
    finally:
        await engine.dispose()
