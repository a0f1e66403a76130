"""Edges with a spool and a real Kafka broker that is killed: miners notice nothing, and every share
that was answered `true` is credited exactly once, also those of an edge that was killed as well.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pithead.config import LogSettings, SpoolSettings
from pithead.config.share_log import open_log
from pithead.log.codec import decode_batch
from pithead.log.topics import blocks_topic, shares_topic
from pithead.shares.audit import recount
from pithead.store import open_store
from pithead.stratum import backlog
from tests.integration.test_kafka_spine import (
    BACK_S_MAX,
    PARAMS,
    RARE_BLOCKS,
    Heard,
    accounting,
    credited,
    mine,
    shares_settings,
)
from tests.support.databases import DATABASES
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.edge import (
    POOL,
    EdgeProcess,
    RunningEdge,
    address,
    edge_settings,
    running_edge,
)
from tests.support.kafka import KafkaBroker, KafkaFiles, make_topics, running_broker
from tests.support.stratum_client import StratumClient

pytestmark = [pytest.mark.full, pytest.mark.needs("kafka"), pytest.mark.timeout(120)]

AWAY_S = 4.0
"""Longer than answers wait and than an edge of `reject` stays ready."""

DRAINED_S_MAX = 30.0
"""Nobody waits for it: shares are accepted all the while."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaBroker]:
    with running_broker(KafkaFiles(tmp_path / "kafka")) as running:
        yield running


async def batches_of(log: LogSettings) -> list[tuple[bytes, int, bool]]:
    """Producer, sequence and end of all share batches, partition by partition."""
    reader = open_log(log).reader(shares_topic(POOL))
    found = []
    try:
        for partition in await reader.partitions():
            position = 0
            while records := await reader.read(partition, position, 1 << 20):
                for record in records:
                    batch = decode_batch(record.payload)
                    found.append((batch.producer, batch.sequence, batch.end))
                position = records[-1].next_position
    finally:
        await reader.close()
    return found


async def test_nobody_notices_that_kafka_is_away_and_nothing_is_lost_or_doubled(
    tmp_path: Path, broker: KafkaBroker
) -> None:
    log = LogSettings(kafka=broker.settings)
    await make_topics(broker, shares_topic(POOL), blocks_topic(POOL), partitions=2)
    heard = Heard()
    async with DevchainTask(devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)) as node:
        first, second = (
            edge_settings(
                tmp_path / name,
                PARAMS,
                node.access,
                log=log,
                partition="",
                spool=SpoolSettings(directory=tmp_path / name / "spool"),
            )
            for name in ("one", "two")
        )
        for settings in (first, second):
            Path(settings.serve.address.removeprefix("unix:")).parent.mkdir()
        database = await DATABASES.migrated(tmp_path, "shares")
        shares = shares_settings(tmp_path, database, first.coin, log)
        mortal = EdgeProcess(second)
        await mortal.start()
        try:
            async with accounting(shares), running_edge(first) as edge:
                async with asyncio.TaskGroup() as group:
                    miners = [
                        group.create_task(mine(port, worker, heard))
                        for worker, port in (
                            (1, edge.port),
                            (2, edge.port),
                            (3, second.listeners[0].port),
                        )
                    ]
                    await outage(broker, mortal, edge, heard)
                    for miner in miners:
                        miner.cancel()
                assert mortal.terminate() == 0
                found = await credited(shares, sum(heard.trues.values()))
        finally:
            mortal.kill()
    print(f"true {dict(heard.trues)}, refused {dict(heard.refused)}, cut {dict(heard.cut)}")
    assert heard.refused[1] == heard.refused[2] == 0
    for worker in (1, 2, 3):
        lost_answers = heard.refused[worker] + heard.cut[worker] + 1
        count = found[address(PARAMS, worker)]
        assert heard.trues[worker] <= count <= heard.trues[worker] + lost_answers
    first_seen = list(dict.fromkeys((name, number) for name, number, _ in await batches_of(log)))
    for producer in {name for name, _ in first_seen}:
        numbers = [number for name, number in first_seen if name == producer]
        assert numbers == list(range(len(numbers))), "in order, each number there"
    ended = {name for name, _, end in await batches_of(log) if end}
    # The one killed before the outage had nothing in a spool; those after it were ended.
    assert len(ended) >= len({name for name, _ in first_seen}) - 1
    engine = open_store(shares.database)
    try:
        assert await recount(engine, open_log(log)) == []
    finally:
        await engine.dispose()


async def outage(broker: KafkaBroker, mortal: EdgeProcess, edge: RunningEdge, heard: Heard) -> None:
    """Kill the broker, and an edge that spools, which begins again with the broker away."""
    async with asyncio.timeout(10):
        while len(heard.trues) < 3 or min(heard.trues.values()) < 5:
            await asyncio.sleep(0.02)
    broker.kill()
    began = time.monotonic()
    await heard.more_trues(3.0)
    mortal.kill()
    await mortal.start()
    while time.monotonic() - began < AWAY_S:
        await heard.more_trues(3.0)
    status = await edge.status()
    assert status.ready
    assert status.degraded
    assert status.spool_batches > 0
    print(f"{status.spool_batches} records, {status.spool_bytes} bytes wait")
    broker.start()
    await broker.until_ready()
    back = time.monotonic()
    async with asyncio.timeout(DRAINED_S_MAX):
        while (await edge.status()).degraded:
            await asyncio.sleep(0.02)
    print(f"the spool was empty {time.monotonic() - back:.1f} s after the broker was back")
    await heard.more_trues(BACK_S_MAX)


async def test_at_its_byte_bound_shares_are_refused_until_accounting_has_made_room(
    tmp_path: Path, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MEASURE_S", 0.2)
    bytes_max = 20_000
    log = LogSettings(kafka=broker.settings, bytes_max=bytes_max)
    await make_topics(broker, shares_topic(POOL), blocks_topic(POOL), partitions=1)
    kafka = open_log(log)
    async with DevchainTask(devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)) as node:
        settings = edge_settings(tmp_path, PARAMS, node.access, log=log, partition="")
        async with running_edge(settings) as edge, StratumClient(PARAMS, edge.port) as client:
            await client.login(address(PARAMS, 1))
            job = await client.job()
            number = 0

            async def answered(wanted: bool) -> dict[str, object]:
                nonlocal number
                async with asyncio.timeout(20):
                    while True:
                        answer = await client.submit(client.solve(job, number))
                        number += 1
                        if (answer["result"] is True) is wanted:
                            return answer

            await answered(True)
            refused = await answered(False)
            assert refused["error"] == [
                20,
                "the share log is full: this share is not credited",
                None,
            ]
            assert "the bound is 20000" in (await edge.status()).trouble
            held = (await kafka.held(shares_topic(POOL)))["0"]
            assert held.bytes >= bytes_max
            # Promises go on, so that accounting can go on.
            await asyncio.sleep(2.5)
            later = (await kafka.held(shares_topic(POOL)))["0"]
            assert held.end < later.end <= held.end + 4
            await kafka.delete_before(shares_topic(POOL), "0", later.end)
            await answered(True)
