"""Clients with TLS and SASL on a real broker: who is let in, and that nothing stays open."""

import gc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pithead.log.errors import LogError, LogNotAllowed, LogUnavailable
from pithead.log.kafka_log import KafkaLog
from tests.support.kafka import KafkaBroker, KafkaFiles, free_ports, make_topics, running_broker
from tests.unit.log.contract import read_all

pytestmark = [pytest.mark.full, pytest.mark.needs("kafka"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    folder = tmp_path_factory.mktemp("secured")
    with running_broker(KafkaFiles(folder, users={"edge": "correct horse"})) as running:
        yield running


async def test_a_user_with_its_password_writes_and_reads(secured: KafkaBroker) -> None:
    await make_topics(secured, "shares.p")
    log = KafkaLog(secured.settings)
    writer, reader = await log.writer("shares.p", "0"), log.reader("shares.p")
    await writer.append(b"x")
    assert len(await read_all(reader, "0")) == 1
    await reader.close()
    await writer.close()


async def test_a_wrong_password_is_told_as_such_and_leaves_no_socket(secured: KafkaBroker) -> None:
    wrong = msgspec.structs.replace(secured.settings, password="guess")
    for _ in range(3):
        with pytest.raises(LogNotAllowed, match="check user, password"):
            await KafkaLog(wrong).writer("shares.p", "0")
        gc.collect()


async def test_a_certificate_of_another_authority_is_not_trusted(
    secured: KafkaBroker, tmp_path: Path
) -> None:
    files = KafkaFiles(tmp_path / "other", users={"edge": "x"})
    files.write_certificates()
    strange = msgspec.structs.replace(secured.settings, ca=files.ca)
    for _ in range(3):
        with pytest.raises(LogNotAllowed, match="certificate"):
            await KafkaLog(strange).writer("shares.p", "0")
        gc.collect()


async def test_plain_text_is_not_answered(secured: KafkaBroker) -> None:
    plain = msgspec.structs.replace(secured.settings, ca=None, username="", password="")
    with pytest.raises(LogError):
        await KafkaLog(plain).writer("shares.p", "0")
    gc.collect()


async def test_where_nobody_listens_the_log_is_away() -> None:
    files = KafkaFiles(Path("unused"), port=free_ports(1)[0])
    log = KafkaLog(files.settings())
    with pytest.raises(LogUnavailable, match="Connect call failed"):
        await log.writer("shares.p", "0")
    reader = log.reader("shares.p")
    with pytest.raises(LogUnavailable):
        await reader.log_id()
    await reader.close()
