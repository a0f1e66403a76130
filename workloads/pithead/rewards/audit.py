"""Recomputes every final split from its window and compares it with what was stored, booked
and paid by the chain.

Replayable: the window is fetched again, once out of the cells and once out of the
archive alone, the scheme's revision is applied again, and every number must come
out the same, bit for bit. The ledger's entries must be
those that the split makes, no more and no less. The block's value must be what
its coinbase pays the pool on the chain. Nothing is changed, whatever is found.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from pithead.coins.params import ChainParams
from pithead.contracts.accounting_pb2 import WindowPart, WindowRequest
from pithead.contracts.ledger_pb2 import EntriesRequest, Entry
from pithead.rewards.booking import entry
from pithead.rewards.database import BlockRow, Database, find_block, pool_scripts
from pithead.rewards.nodes import Nodes
from pithead.rewards.registry import Revision, revision_at, revisions
from pithead.rewards.scheme import (
    ConservedMoneyViolated,
    SchemeError,
    Split,
    revision_of,
)
from pithead.rewards.solved import read_solved
from pithead.rewards.splits import (
    PlannedEntry,
    StoredSplit,
    block_entries,
    final_splits,
    find_split,
)
from pithead.rewards.states import ON_CHAIN
from pithead.rewards.windows import Computed, FetchWindow, WindowRefused, compute_split

if TYPE_CHECKING:
    # Generated for type checkers only.
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub
    from pithead.contracts.ledger_pb2_grpc import LedgerAsyncStub

CALL_TIMEOUT_S = 120.0

UNARCHIVED = frozenset({grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.DATA_LOSS})
"""Answers about the archive itself: it does not hold the height, or no longer as it was."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be."""

    what: str
    """`split`, `window`, `archive`, `ledger`, `chain` or `revision`."""
    where: str
    """Pool, block and the field or account."""
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Audited:
    """How much was looked at, and what was found."""

    splits: int
    entries: int
    differences: tuple[Difference, ...]


async def recompute_splits(
    database: Database,
    coin: str,
    nodes: Nodes,
    accounting: "AccountingAsyncStub",
    ledger: "LedgerAsyncStub",
) -> Audited:
    """Audit every final split of a coin (`<coin>/<network>`).

    Raises grpc.aio.AioRpcError or NodeError when a neighbour cannot be asked:
    an audit that could not look is no audit.
    """
    booked = {
        one.id: one
        async for one in ledger.Entries(EntriesRequest(coin=coin), timeout=CALL_TIMEOUT_S)
        if one.kind in {"split", "mature", "orphan", "unorphan"}
    }
    differences: list[Difference] = []
    splits, seen = 0, set[str]()
    async with database.read() as connection:
        hashes = await final_splits(connection, coin)
    for block_hash in hashes:
        async with database.read() as connection:
            block = await find_block(connection, coin, block_hash)
            planned = await block_entries(connection, coin, block_hash)
            seen.update(one.id for one in planned)
            splits += 1
            try:
                stored = await find_split(connection, coin, block_hash)
            except ConservedMoneyViolated as error:
                where = block_hash[::-1].hex()
                differences.append(_difference("split", where, error.expected, error.got))
                continue
        if block is None or stored is None:
            continue
        differences += await _replay(database, nodes, accounting, block, stored)
        for one in planned:
            # Booked between the reading of the ledger and that of this block.
            if one.booked and one.id not in booked:
                request = EntriesRequest(coin=coin, id=one.id)
                async for late in ledger.Entries(request, timeout=CALL_TIMEOUT_S):
                    booked[late.id] = late
        differences += _compare_entries(block, stored, planned, booked)
        differences += await _compare_chain(database, nodes, block, stored)
    differences += [
        _difference("ledger", f"{coin} entry {name}", "no such entry", "an entry without a split")
        for name in booked
        if name not in seen
    ]
    return Audited(splits, len(seen), tuple(differences))


def _difference(what: str, where: str, expected: object, got: object) -> Difference:
    return Difference(what, where, str(expected), str(got))


async def _replay(
    database: Database,
    nodes: Nodes,
    accounting: "AccountingAsyncStub",
    block: BlockRow,
    stored: StoredSplit,
) -> list[Difference]:
    """Compute the split again and compare."""

    def fetch(request: WindowRequest) -> AsyncIterator[WindowPart]:
        return aiter(accounting.Window(request, timeout=CALL_TIMEOUT_S))

    where = f"{block.pool} block {block.name}"
    async with database.read() as connection:
        table = await revisions(connection, block.pool)
    revision = revision_at(table, block.slot, block.height)
    if revision is None or revision.revision != stored.revision:
        got = revision.revision if revision is not None else "none"
        return [_difference("revision", where, stored.revision, got)]
    if revision_of(revision.parameters) != revision.revision:
        got = revision_of(revision.parameters)
        return [_difference("revision", f"{where} parameters", revision.revision, got)]
    try:
        computed = await compute_split(fetch, nodes.params, block, revision, stored.split.carried)
    except (WindowRefused, SchemeError, ConservedMoneyViolated, ValueError) as error:
        return [_difference("window", where, "a window that can be split", error)]
    found = list(compare(where, stored, computed))
    if stored.window.archive:
        found += await _replay_archived(fetch, nodes.params, block, revision, stored)
    return found


async def _replay_archived(
    fetch: FetchWindow,
    params: ChainParams,
    block: BlockRow,
    revision: Revision,
    stored: StoredSplit,
) -> list[Difference]:
    """Compute the split once more, out of the archive alone."""
    where = f"{block.pool} block {block.name} out of the archive:"
    try:
        computed = await compute_split(
            fetch, params, block, revision, stored.split.carried, archived=True
        )
    except (WindowRefused, SchemeError, ConservedMoneyViolated, ValueError) as error:
        return [_difference("window", where, "a window that can be split", error)]
    except grpc.aio.AioRpcError as error:
        if error.code() not in UNARCHIVED:
            raise
        return [_difference("archive", where, "a window", error.details())]
    return list(compare(where, stored, computed))


def compare(where: str, stored: StoredSplit, computed: Computed) -> Iterable[Difference]:
    """Differences between a stored split and the same split computed again."""
    if not computed.fetched.sealed:
        yield _difference("window", where, "sealed", "not sealed")
    facts = computed.fetched.facts
    for name in (
        "hash",
        "weight",
        "group_weight",
        "needed",
        "filled",
        "groups",
        "first_group",
        "last_group",
        "archive",
    ):
        if name == "archive" and not stored.window.archive:
            # It was final before there was an archive.
            continue
        expected, got = getattr(facts, name), getattr(stored.window, name)
        if expected != got:
            shown = (expected.hex(), got.hex()) if isinstance(expected, bytes) else (expected, got)
            yield _difference("window", f"{where} {name}", *shown)
    yield from _compare_splits(where, computed.split, stored.split)


def _compare_splits(where: str, expected: Split, got: Split) -> Iterable[Difference]:
    for name in ("value", "carried", "fee", "remainder"):
        if getattr(expected, name) != getattr(got, name):
            yield _difference(
                "split", f"{where} {name}", getattr(expected, name), getattr(got, name)
            )
    wanted = {share.account: share for share in expected.shares}
    found = {share.account: share for share in got.shares}
    for account in sorted(wanted.keys() | found.keys()):
        if wanted.get(account) != found.get(account):
            yield _difference(
                "split",
                f"{where} account {account}",
                wanted.get(account, "no share"),
                found.get(account, "no share"),
            )


def _compare_entries(
    block: BlockRow,
    stored: StoredSplit,
    planned: Iterable[PlannedEntry],
    booked: Mapping[str, Entry],
) -> Iterable[Difference]:
    """Differences between the entries that a split makes and those in the ledger."""
    for one in planned:
        where = f"{block.pool} entry {one.id}"
        try:
            made = entry(
                one.movement,
                stored.split,
                name=one.id,
                coin=block.coin,
                pool=block.pool,
                height=block.height,
            )
        except ConservedMoneyViolated as error:
            yield _difference("split", where, error.expected, error.got)
            continue
        stands = booked.get(one.id)
        if made is None or (stands is None and not one.booked):
            # A worthless block books nothing; an entry not yet booked is on its way.
            continue
        if stands is None:
            yield _difference("ledger", where, "booked", "not in the ledger")
            continue
        expected, got = _legs(made), _legs(stands)
        for book in sorted(expected.keys() | got.keys()):
            if expected.get(book) != got.get(book):
                yield _difference(
                    "ledger",
                    f"{where} book {book[0]}/{book[1]}",
                    expected.get(book, 0),
                    got.get(book, 0),
                )


def _legs(one: Entry) -> dict[tuple[int, str], int]:
    legs: dict[tuple[int, str], int] = {}
    for leg in one.legs:
        book = (int(leg.book.kind), leg.book.owner)
        legs[book] = legs.get(book, 0) + leg.amount
    return legs


async def _compare_chain(
    database: Database, nodes: Nodes, block: BlockRow, stored: StoredSplit
) -> list[Difference]:
    """Compare a block's value with what its coinbase pays the pool on the chain."""
    where = f"{block.pool} block {block.name}"
    if block.state not in ON_CHAIN or block.recheck:
        return []
    async with database.read() as connection:
        scripts = await pool_scripts(connection, block.pool)
    raw = await nodes.block_bytes(block.hash)
    if raw is None:
        return [_difference("chain", where, "on the chain", "not known to any node")]
    solved = read_solved(nodes.params, raw, frozenset(scripts))
    paid = solved.value if solved is not None else 0
    if paid != stored.split.value:
        return [_difference("chain", f"{where} value", paid, stored.split.value)]
    return []
