"""The gRPC service over a real socket and database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from pithead.config import LedgerSettings, Unusable
from pithead.contracts import ledger_pb2, ledger_pb2_grpc
from pithead.ledger.metrics import REFUSALS
from pithead.ledger.service import run
from pithead.rpc import channel
from pithead.store.migrate import migrate
from tests.support.doors import peer_of, served
from tests.unit.ledger.support import COIN, url_of

pytestmark = pytest.mark.gate

PAYABLE = ledger_pb2.BOOK_PAYABLE
CHAIN = ledger_pb2.BOOK_CHAIN


def message(
    entry_id: str, *legs: tuple["ledger_pb2.BookKind.ValueType", str, int]
) -> ledger_pb2.Entry:
    return ledger_pb2.Entry(
        id=entry_id,
        coin=COIN,
        kind="split",
        legs=[
            ledger_pb2.Leg(book=ledger_pb2.Book(kind=kind, owner=owner), amount=amount)
            for kind, owner, amount in legs
        ],
    )


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator["ledger_pb2_grpc.LedgerAsyncStub"]:
    settings = LedgerSettings(database=url_of(directory), serve=served(directory / "ledger.sock"))
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        async with channel(peer_of(settings.serve)) as open_channel:
            await asyncio.wait_for(open_channel.channel_ready(), 5)
            yield ledger_pb2_grpc.LedgerStub(open_channel)
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)


async def test_an_entry_is_posted_read_back_and_kept_over_a_restart(tmp_path: Path) -> None:
    await migrate(url_of(tmp_path), "pithead.ledger")
    first = message("a", (CHAIN, "", -5), (PAYABLE, "1", 5))
    async with serving(tmp_path) as stub:
        reply = await stub.Post(first)
        assert (reply.number, reply.existed) == (1, False)
    async with serving(tmp_path) as stub:
        reply = await stub.Post(first)
        assert (reply.number, reply.existed) == (1, True)
        request = ledger_pb2.BalancesRequest(coin=COIN, kinds=[PAYABLE], at_least=5)
        found = (await stub.Balances(request)).balances
        assert [(item.book.owner, item.amount) for item in found] == [("1", 5)]
        entries = [item async for item in stub.Entries(ledger_pb2.EntriesRequest(coin=COIN))]
        assert [(item.id, item.number, len(item.legs)) for item in entries] == [("a", 1, 2)]
        assert entries[0].booked_ms > 0


async def test_each_refusal_has_its_status_and_is_counted(tmp_path: Path) -> None:
    await migrate(url_of(tmp_path), "pithead.ledger")
    cases = [
        (
            message("b", (CHAIN, "", -5), (PAYABLE, "1", 6)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "unbalanced",
            "sum to 1 base units",
        ),
        (message("b"), grpc.StatusCode.INVALID_ARGUMENT, "invalid", "0 legs"),
        (
            message("b", (CHAIN, "", -5), (99, "1", 5)),  # type: ignore[arg-type]
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid",
            "book kind 99",
        ),
        (
            message("a", (CHAIN, "", -5), (PAYABLE, "2", 5)),
            grpc.StatusCode.ALREADY_EXISTS,
            "conflict",
            "legs[PAYABLE/1]",
        ),
        (
            message("b", (CHAIN, "", 6), (PAYABLE, "1", -6)),
            grpc.StatusCode.FAILED_PRECONDITION,
            "overdrawn",
            "cannot give 6",
        ),
    ]
    async with serving(tmp_path) as stub:
        await stub.Post(message("a", (CHAIN, "", -5), (PAYABLE, "1", 5)))
        for bad, code, rule, words in cases:
            before = REFUSALS.labels(rule)._value.get()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Post(bad)
            assert caught.value.code() is code
            assert words in (caught.value.details() or "")
            assert REFUSALS.labels(rule)._value.get() == before + 1


async def test_a_database_that_was_never_set_up_ends_the_service_with_the_remedy(
    tmp_path: Path,
) -> None:
    settings = LedgerSettings(database=url_of(tmp_path), serve=served(tmp_path / "ledger.sock"))
    with pytest.raises(Unusable, match="was never set up"):
        await run(settings, asyncio.Event())


async def test_a_database_that_cannot_be_opened_is_waited_for(tmp_path: Path) -> None:
    missing = tmp_path / "later"
    stop = asyncio.Event()
    settings = LedgerSettings(database=url_of(missing), serve=served(tmp_path / "ledger.sock"))
    task = asyncio.create_task(run(settings, stop))
    await asyncio.sleep(0.1)
    assert not task.done()
    missing.mkdir()
    await migrate(url_of(missing), "pithead.ledger")
    async with channel(peer_of(settings.serve)) as open_channel:
        await asyncio.wait_for(open_channel.channel_ready(), 5)
    stop.set()
    await asyncio.wait_for(task, 5)
