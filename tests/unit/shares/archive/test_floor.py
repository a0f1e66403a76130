"""The log is kept until all that its records count for is archived."""

from pathlib import Path

import pytest

from pithead.log.topics import shares_topic
from pithead.shares import decisions
from pithead.shares.archive.archiver import Archiver
from pithead.shares.archive.floor import Sealed, archive_floor, archived_cut
from pithead.store import transaction
from tests.support.accounting import NOW_MS, Bench
from tests.support.shares import POOL, Share, make_batch, payload, producer_id

pytestmark = pytest.mark.databases


@pytest.mark.gate
def test_the_second_note_after_a_seal_bounds_what_was_read_before_it() -> None:
    seals = [
        Sealed(22, {"0": 10}),
        Sealed(22, {"0": 11}),
        Sealed(23, {"0": 12}),
        Sealed(25, {"0": 13, "1": 4}),
        Sealed(26, {"0": 14, "1": 5}),
    ]
    # Shares read before the first two seals can be of height 27, two above the node's 25.
    assert archived_cut(seals, 26) == {}
    assert archived_cut(seals, 27) == {"0": 11}
    assert archived_cut(seals, 28) == {"0": 12}
    assert archived_cut(seals, 99) == {"0": 12}, "what followed the last notes is not known"
    assert archived_cut([], 99) == {}


async def test_the_floor_follows_the_archive_and_forgets_another_log(tmp_path: Path) -> None:
    async with await Bench.make(tmp_path) as bench:
        topic = shares_topic(POOL)
        floor = archive_floor(bench.engine, POOL)
        ends = []
        for number, height in enumerate(range(20, 30)):
            batch = make_batch(producer_id(1), number, [Share(1, height)], promise=height - 1)
            await bench.write("eu-0", payload(batch))
            await bench.consumer.poll()
            await bench.settle_segments()
            await bench.sealer.step(height)
            ends.append(await bench.reader.end("eu-0"))
        assert await floor(topic, "eu-0", "log") == 0
        assert await floor("another", "eu-0", "log") is None
        archiver = Archiver(bench.engine, bench.pool, lambda: 0)
        while await archiver.step():
            pass
        kept = await floor(topic, "eu-0", "log")
        assert kept in ends
        # Heights to 27 are archived: what was read at the node's 23 is of 27 at most.
        assert kept == ends[23 - 20]
        assert await floor(topic, "eu-9", "log") == 0
        async with transaction(bench.engine) as connection:
            await decisions.record(
                connection,
                who="accounting",
                action=decisions.EXCHANGE,
                subject=f"{topic}/eu-0",
                reason="another",
                now_ms=NOW_MS,
            )
        assert await floor(topic, "eu-0", "log") == 0
