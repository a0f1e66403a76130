"""Charts out of Kafka into ClickHouse, as in a cluster: both are real servers."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from pithead.contracts.share_log_pb2 import ShareBatch
from pithead.log.kafka_log import KafkaLog
from pithead.log.topics import shares_topic
from pithead.shares.analytics.standing import prepare
from pithead.shares.analytics.writer import Writer
from pithead.store.columnar.server import open_server
from tests.support.analytics import expected, mixed_batch
from tests.support.clickhouse import ClickHouseServer
from tests.support.kafka import KafkaFiles, make_topics, running_broker
from tests.support.recount import differences, read_all
from tests.support.shares import make_store, payload, producer_id

pytestmark = [
    pytest.mark.full,
    pytest.mark.needs("kafka", "clickhouse"),
    pytest.mark.timeout(120),
]

NOW_MS = int(time.time() * 1000)


async def test_all_that_lies_in_kafka_is_in_clickhouse_once(
    tmp_path: Path, clickhouse: ClickHouseServer
) -> None:
    engine, pool = await make_store(tmp_path)
    door = await open_server(clickhouse.reach("of_kafka"))
    topic = shares_topic(pool.name)
    dice = random.Random(3)
    batches: list[ShareBatch] = []
    with running_broker(KafkaFiles(tmp_path / "kafka")) as broker:
        await make_topics(broker, topic)
        log = KafkaLog(broker.settings)
        await prepare(engine, door)
        reader = log.reader(topic)
        writer = Writer(engine, reader, door, pool, lambda: NOW_MS)
        written = 0
        for part in range(2):
            for producer in (1, 2):
                out = await log.writer(topic, str(producer % 2))
                new = [
                    mixed_batch(dice, producer_id(producer), part * 4 + sequence, NOW_MS - 900_000)
                    for sequence in range(4)
                ]
                # The last of the part before lies there twice.
                for batch in [*batches[-1:], *new]:
                    await out.append(payload(batch))
                await out.close()
                batches += new
            async with asyncio.timeout(60):
                while written < sum(len(batch.login) for batch in batches):
                    written += (await writer.step()).shares
        await reader.close()
        assert differences(await expected(engine, pool, batches), await read_all(door)) == []
    await door.close()
    await engine.dispose()
