"""What the tests of rewards share.

`ScriptedChain` is a node whose main chain a test writes block by block, with real
block bytes; `ScriptedShares` answers the accounting contract from values that a
test sets; the ledger is the real one over a database of its own.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from pithead.coins.block import BlockHeader, parse_header
from pithead.coins.job import make_job, pool_tag
from pithead.coins.node import ChainInfo, HeaderInfo, NodeUnreachable, Submission
from pithead.coins.registry import chain_params
from pithead.coins.script import p2wpkh
from pithead.coins.template import Template
from pithead.coins.weight import bits_to_target
from pithead.contracts import accounting_pb2, accounting_pb2_grpc, ledger_pb2_grpc
from pithead.contracts.ledger_pb2 import BalancesRequest, BookKind
from pithead.contracts.share_log_pb2 import BlockRecord, Login
from pithead.ledger.posting import Ledger
from pithead.ledger.service import LedgerServicer
from pithead.rewards.database import Database
from pithead.rewards.registry import Registry, SchemeSpec
from pithead.rewards.solved import WatchedPool
from pithead.rpc import channel, serve
from pithead.store import open_store
from tests.support.databases import DATABASES
from tests.support.doors import peer, served

PARAMS = chain_params("devchain", "regtest")
COIN = PARAMS.key
POOL = "default.demo"
SCRIPT = p2wpkh(bytes(range(20)))
OTHER_SCRIPT = p2wpkh(bytes(20))
SALT = bytes(range(16))
BITS = 0x1F00FFFF
VALUE = 50 * 10**8
PPLNS = '{"fee_ppm":10000,"method":"PPLNS","window":{"weight":"100"}}'
WATCHED = WatchedPool(POOL, pool_tag(POOL), frozenset({SCRIPT}))
GENESIS = bytes(32)


@asynccontextmanager
async def rewards_database(directory: Path) -> AsyncIterator[Database]:
    engine = open_store(await DATABASES.migrated(directory, "rewards"))
    try:
        yield Database(engine)
    finally:
        await engine.dispose()


async def apply_pplns(database: Database, pool: str = POOL, parameters: str = PPLNS) -> None:
    async def tip() -> int:
        return 0

    await Registry(database, 6).apply(
        pool, COIN, [SchemeSpec("pplns", "PPLNS", parameters)], tip, 1
    )


def solve(
    parent: bytes,
    height: int,
    *,
    pool: str | None = POOL,
    script: bytes = SCRIPT,
    value: int = VALUE,
    slot: int = 0,
    serial: int = 1,
) -> bytes:
    """A block on `parent`, as an edge of `pool` would make it; without a pool, a foreign one."""
    template = Template(
        height=height,
        parent=parent,
        version=0x20000000,
        bits=BITS,
        target=bits_to_target(BITS),
        time=1_700_000_000 + height,
        min_time=0,
        coinbase_value=value,
        transactions=(),
    )
    tag = pool_tag(pool) if pool is not None else b"SOMEONE ELSE"
    job = make_job(template, script, tag, SALT, serial)
    return job.block(bytes([slot, 0, 0, 0, 7]), bytes(8), template.time, serial, template.version)


def hash_of(block: bytes) -> bytes:
    return parse_header(block[:80]).hash()


def record(
    block: bytes, *, account: str = "alice", pool: str = POOL, value: int = VALUE, height: int = 0
) -> BlockRecord:
    header = parse_header(block[:80])
    return BlockRecord(
        format=1,
        producer=SALT,
        pool=pool,
        coin=COIN,
        region="home",
        hash=header.hash(),
        height=height,
        parent=header.parent,
        bits=header.bits,
        block=block,
        value=value,
        login=Login(account=account, worker="rig1"),
        extranonce1=bytes([0, 0, 0, 0, 7]),
        serial=1,
        found_ms=1_700_000_000_123,
    )


@dataclass
class ScriptedChain:
    """A node with a block tree and a main chain chosen by the test."""

    name: str = "main"
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    main: list[bytes] = field(default_factory=list)
    ibd: bool = False
    down: bool = False
    headers_ahead: int = 0
    chainwork: int | None = None
    submissions: list[bytes] = field(default_factory=list)
    accepts: bool = False
    """Whether a submitted block that fits becomes the tip."""

    def __post_init__(self) -> None:
        if not self.main:
            self.extend(solve(GENESIS, 0, pool=None))

    @property
    def height(self) -> int:
        return len(self.main) - 1

    def extend(self, *blocks: bytes) -> None:
        for block in blocks:
            self.blocks[hash_of(block)] = block
            self.main.append(hash_of(block))

    def mine(self, count: int = 1, serial: int = 1) -> None:
        """Extend the main chain by foreign blocks."""
        for _ in range(count):
            self.extend(solve(self.main[-1], self.height + 1, pool=None, serial=serial))

    def mine_ours(self, **how: Any) -> bytes:
        block = solve(self.main[-1], self.height + 1, **how)
        self.extend(block)
        return block

    def fork(self, height: int, length: int, serial: int = 99) -> list[bytes]:
        """Replace the main chain above `height`; returns the chain that was."""
        was = list(self.main)
        del self.main[height + 1 :]
        self.mine(length, serial)
        return was

    def _ask(self, method: str) -> None:
        if self.down:
            raise NodeUnreachable(self.name, "http://nowhere", method, "scripted")

    def _header(self, identity: bytes) -> tuple[BlockHeader, int, int]:
        header = parse_header(self.blocks[identity][:80])
        if identity in self.main:
            height = self.main.index(identity)
            return header, height, self.height - height + 1
        height = 0
        parent = header
        while parent.hash() not in self.main and parent.parent in self.blocks:
            parent = parse_header(self.blocks[parent.parent][:80])
            height += 1
        return header, self.main.index(parent.hash()) + height, -1

    async def chain_info(self) -> ChainInfo:
        self._ask("getblockchaininfo")
        return ChainInfo(
            "regtest", self.height, self.height + self.headers_ahead, self.main[-1], self.ibd, 1.0
        )

    async def block_header(self, identity: bytes) -> HeaderInfo | None:
        self._ask("getblockheader")
        if identity not in self.blocks:
            return None
        header, height, confirmations = self._header(identity)
        return HeaderInfo(
            hash=identity,
            height=height,
            confirmations=confirmations,
            parent=header.parent,
            next=None,
            bits=header.bits,
            time=header.time,
            chainwork=height + 1 if self.chainwork is None else self.chainwork,
        )

    async def block_bytes(self, identity: bytes) -> bytes | None:
        self._ask("getblock")
        return self.blocks.get(identity)

    async def block_hash_at(self, height: int) -> bytes | None:
        self._ask("getblockhash")
        return self.main[height] if 0 <= height < len(self.main) else None

    async def submitted(self, block: bytes) -> Submission:
        self._ask("submitblock")
        self.submissions.append(block)
        if self.accepts and parse_header(block[:80]).parent == self.main[-1]:
            self.extend(block)
        header = await self.block_header(hash_of(block))
        return Submission(self.name, hash_of(block), None, header.confirmations if header else None)


@dataclass
class ScriptedShares(accounting_pb2_grpc.AccountingServicer):
    """The accounting contract from values: one window for all blocks, seals, sessions."""

    cells: list[tuple[int, int, int]] = field(default_factory=lambda: [(1, 60, 0), (2, 0, 80)])
    group_weight: int = 80
    needed: int = 40
    filled: bool = True
    sealed: int = -1
    archive: bytes = bytes([8]) * 32
    """Hash of every sealed height; empty while the archive lags."""
    sessions: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    window_requests: list[accounting_pb2.WindowRequest] = field(default_factory=list)
    reaches: list[accounting_pb2.ReachRequest] = field(default_factory=list)
    hash: bytes = bytes([7]) * 32
    part_cells: int = 1
    abort: grpc.StatusCode | None = None

    def parts(self, height: int) -> Iterator[accounting_pb2.WindowPart]:
        header = accounting_pb2.WindowHeader(
            group_weight=big(self.group_weight),
            needed=big(self.needed),
            filled=self.filled,
            groups=2,
            first_group="1/a/0",
            last_group="2/b/0",
            sealed=height <= self.sealed,
            hash=self.hash,
            archive_hash=self.archive if height <= self.sealed else b"",
        )
        chunks = [
            self.cells[at : at + self.part_cells]
            for at in range(0, len(self.cells), self.part_cells)
        ] or [[]]
        for number, chunk in enumerate(chunks):
            yield accounting_pb2.WindowPart(
                header=header if number == 0 else None,
                account=[account for account, _, _ in chunk],
                full=[big(full) for _, full, _ in chunk],
                last=[big(last) for _, _, last in chunk],
            )

    async def Window(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.WindowRequest,
        context: grpc.aio.ServicerContext[accounting_pb2.WindowRequest, accounting_pb2.WindowPart],
    ) -> AsyncIterator[accounting_pb2.WindowPart]:
        self.window_requests.append(request)
        if self.abort is not None:
            await context.abort(self.abort, "scripted")
        for part in self.parts(request.height):
            yield part

    async def Seals(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.SealsRequest, context: object
    ) -> accounting_pb2.SealsReply:
        return accounting_pb2.SealsReply(
            any=self.sealed >= 0,
            sealed_height=max(0, self.sealed),
            any_archived=self.sealed >= 0 and bool(self.archive),
            archived_height=max(0, self.sealed),
        )

    async def FindSession(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.FindSessionRequest, context: object
    ) -> accounting_pb2.FindSessionReply:
        if request.producer != SALT or request.extranonce1 not in self.sessions:
            return accounting_pb2.FindSessionReply()
        account, worker = self.sessions[request.extranonce1]
        return accounting_pb2.FindSessionReply(found=True, account=account, worker=worker)

    async def ChainFacts(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.ChainFactsRequest, context: object
    ) -> accounting_pb2.ChainFactsReply:
        return accounting_pb2.ChainFactsReply()

    async def Newest(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.NewestRequest, context: object
    ) -> accounting_pb2.NewestReply:
        return accounting_pb2.NewestReply()

    async def Checks(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.ChecksRequest, context: object
    ) -> accounting_pb2.ChecksReply:
        return accounting_pb2.ChecksReply()

    async def Withholding(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.WithholdingRequest, context: object
    ) -> accounting_pb2.WithholdingReply:
        return accounting_pb2.WithholdingReply()

    async def Accounts(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.AccountsRequest, context: object
    ) -> accounting_pb2.AccountsReply:
        return accounting_pb2.AccountsReply(
            accounts=[
                accounting_pb2.Account(id=number, coin=COIN, login=f"login{number}")
                for number in request.ids
            ]
        )

    async def EnsureAccount(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.EnsureAccountRequest, context: object
    ) -> accounting_pb2.Account:
        return accounting_pb2.Account(id=1, coin=request.coin, login=request.login)

    async def Counters(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.CountersRequest, context: object
    ) -> accounting_pb2.CountersReply:
        return accounting_pb2.CountersReply()

    async def Reach(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.ReachRequest, context: object
    ) -> accounting_pb2.ReachReply:
        self.reaches.append(request)
        return accounting_pb2.ReachReply()

    async def Waiting(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.WaitingRequest, context: object
    ) -> accounting_pb2.WaitingReply:
        return accounting_pb2.WaitingReply()

    async def Decide(  # noqa: N802 - the contract's name
        self, request: accounting_pb2.DecideRequest, context: object
    ) -> accounting_pb2.DecideReply:
        return accounting_pb2.DecideReply()


def big(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


@asynccontextmanager
async def serving_shares(
    directory: Path, shares: ScriptedShares
) -> AsyncIterator["accounting_pb2_grpc.AccountingAsyncStub"]:
    socket = directory / "shares.sock"
    async with serve(
        served(socket),
        lambda server: accounting_pb2_grpc.add_AccountingServicer_to_server(shares, server),
    ):
        opened = channel(peer(socket))
        try:
            yield accounting_pb2_grpc.AccountingStub(opened)
        finally:
            await opened.close()


@asynccontextmanager
async def serving_ledger(directory: Path) -> AsyncIterator["ledger_pb2_grpc.LedgerAsyncStub"]:
    """The real ledger."""
    engine = open_store(await DATABASES.migrated(directory, "ledger"))
    socket = directory / "ledger.sock"
    servicer = LedgerServicer(Ledger(engine), lambda: 1)
    try:
        async with serve(
            served(socket),
            lambda server: ledger_pb2_grpc.add_LedgerServicer_to_server(servicer, server),
        ):
            opened = channel(peer(socket))
            try:
                yield ledger_pb2_grpc.LedgerStub(opened)
            finally:
                await opened.close()
    finally:
        await engine.dispose()


async def balances(ledger: "ledger_pb2_grpc.LedgerAsyncStub") -> dict[str, int]:
    """Balances that are not zero, as `KIND/owner`."""
    reply = await ledger.Balances(BalancesRequest(coin=COIN, non_zero=True))
    return {
        f"{BookKind.Name(one.book.kind).removeprefix('BOOK_')}/{one.book.owner}": one.amount
        for one in reply.balances
    }
