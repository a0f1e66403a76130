"""The main chain as it is kept: grown, replaced, interrupted, pruned and contradicted."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.block import BlockHeader
from pithead.coins.node import ChainInfo, HeaderInfo, NodeUnreachable, RpcFault
from pithead.coins.params import ChainParams
from pithead.coins.tx import Tx, TxOut
from pithead.shares import schema
from pithead.shares.chain_query import HEIGHTS_MAX, read_chain_facts
from pithead.shares.fees import INDEX_BLOCKS
from pithead.shares.follow import BLOCKS_MAX, GONE_RETRY_MS, ChainFollower, Contradicted
from pithead.store import reading, transaction
from tests.support.databases import DATABASES
from tests.support.shares import BITS, PARAMS, make_store

pytestmark = pytest.mark.databases

SUBSIDY = PARAMS.subsidy(1)
GENESIS = bytes(32)


@dataclass(frozen=True)
class Made:
    """A block of the scripted node."""

    hash: bytes
    parent: bytes
    fees: int


class ScriptedChain:
    """A node whose chain the test grows, cuts and prunes."""

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.active: list[Made] = []
        self.known: dict[bytes, int] = {}
        self.pruned: set[bytes] = set()
        self.down = False
        self.ibd = False
        self.questions = 0
        self.fail_after: int | None = None
        self.grow(0)

    def grow(self, *fees: int, branch: int = 0) -> None:
        for fee in fees:
            height = len(self.active)
            parent = self.active[-1].hash if self.active else GENESIS
            identity = sha256(b"%b %d %d %d" % (parent, height, fee, branch)).digest()
            self.active.append(Made(identity, parent, fee))
            self.known[identity] = height

    def cut(self, height: int) -> None:
        """Leave all blocks above `height`; the node still knows them."""
        del self.active[height + 1 :]

    def copy_of(self, other: "ScriptedChain") -> None:
        self.active = list(other.active)
        self.known = dict(other.known)

    @property
    def height(self) -> int:
        return len(self.active) - 1

    async def chain_info(self) -> ChainInfo:
        self._ask()
        best = self.active[-1].hash
        return ChainInfo("regtest", self.height, self.height, best, self.ibd, 1.0)

    async def block_header(self, identity: bytes) -> HeaderInfo | None:
        self._ask()
        height = self.known.get(identity)
        if height is None:
            return None
        on_chain = height < len(self.active) and self.active[height].hash == identity
        confirmations = self.height - height + 1 if on_chain else -1
        parent = self.active[height].parent if on_chain else bytes(32)
        return HeaderInfo(identity, height, confirmations, parent, None, BITS, 0, height)

    async def block_hash_at(self, height: int) -> bytes | None:
        self._ask()
        return self.active[height].hash if height < len(self.active) else None

    async def coinbase(self, params: ChainParams, identity: bytes) -> tuple[BlockHeader, Tx] | None:
        self._ask()
        if identity in self.pruned:
            raise RpcFault(self.name, "http://scripted", "getblock", -1, "pruned data")
        made = next((block for block in self.active if block.hash == identity), None)
        if made is None:
            return None
        value = params.subsidy(self.known[identity]) + made.fees
        header = BlockHeader(1, made.parent, bytes(32), 0, BITS, 0)
        return header, Tx((), (TxOut(value - 1, b"a"), TxOut(1, b"b")))

    def _ask(self) -> None:
        self.questions += 1
        if self.fail_after is not None:
            self.fail_after -= 1
            self.down = self.down or self.fail_after < 0
        if self.down:
            raise NodeUnreachable(self.name, "http://scripted", "any", "it is down")


class World:
    """A database, scripted nodes and the follower over them."""

    def __init__(self) -> None:
        self.nodes = [ScriptedChain()]
        self.now_ms = 0

    @property
    def node(self) -> ScriptedChain:
        return self.nodes[0]

    async def open(self, directory: Path, first_height: int | None) -> None:
        self.engine, _ = await make_store(directory)
        await self.begin_at(first_height)
        self.restart()

    async def begin_at(self, first_height: int | None) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(update(schema.pools).values(first_height=first_height))

    def restart(self) -> None:
        self.follower = ChainFollower(self.engine, PARAMS, self.nodes, lambda: self.now_ms)

    async def follow(self) -> None:
        for _ in range(100):
            if not await self.follower.step():
                return
        raise AssertionError("it does not come to rest")

    async def rows(self) -> dict[int, tuple[bytes, int | None]]:
        return await rows_of(self.engine)


async def rows_of(engine: AsyncEngine) -> dict[int, tuple[bytes, int | None]]:
    blocks = schema.chain_blocks.c
    async with reading(engine) as connection:
        found = await connection.execute(select(blocks.height, blocks.hash, blocks.fees))
        return {row.height: (bytes(row.hash), row.fees) for row in found}


def chain_from(node: ScriptedChain, start: int) -> dict[int, tuple[bytes, int | None]]:
    return {
        height: (node.active[height].hash, node.active[height].fees)
        for height in range(start, node.height + 1)
    }


async def test_the_chain_is_kept_from_a_day_below_the_first_height_on(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path, None)
    world.node.grow(*range(200))
    assert await world.follower.step() == 0
    await world.begin_at(190)
    before = world.node.questions
    assert await world.follower.step() == BLOCKS_MAX
    assert world.node.questions - before <= 2 + 2 * BLOCKS_MAX
    await world.follow()
    assert await world.rows() == chain_from(world.node, 190 - INDEX_BLOCKS)
    async with reading(world.engine) as connection:
        facts = await read_chain_facts(connection, PARAMS, 189, 202)
        with pytest.raises(ValueError, match="heights"):
            await read_chain_facts(connection, PARAMS, 1, HEIGHTS_MAX + 1)
        with pytest.raises(ValueError, match="heights"):
            await read_chain_facts(connection, PARAMS, 2, 1)
    # Block h pays h - 1 in fees: the mean of a day's is that of its middle.
    assert [(fact.height, fact.fee_index) for fact in facts] == [
        (189, None),
        *((height, height - 1 - 73) for height in range(190, 202)),
    ]
    assert (facts[-1].hash, facts[-1].subsidy, facts[-1].fees) == (b"", SUBSIDY, None)
    assert facts[-2].hash == world.node.active[200].hash
    await world.engine.dispose()


async def test_rows_are_replaced_when_the_main_chain_changes(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path, 1)
    world.node.grow(*[5] * 30)
    await world.follow()
    world.node.cut(24)
    world.node.grow(*[6] * 7, branch=1)
    await world.follow()
    assert await world.rows() == chain_from(world.node, 0)
    # A chain may also become shorter, when a block is found to be wrong.
    world.node.cut(22)
    await world.follow()
    assert await world.rows() == chain_from(world.node, 0)
    await world.engine.dispose()


async def test_a_settled_row_stands_against_every_node_and_every_writer(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path, 1)
    world.node.grow(*[5] * 30)
    await world.follow()
    settled = 30 - PARAMS.coinbase_maturity
    kept = await world.rows()
    world.node.cut(settled - 1)
    world.node.grow(*[6] * 20, branch=1)
    with pytest.raises(Contradicted, match=f"settled block .* at height {settled} "):
        await world.follow()
    assert await world.rows() == kept
    # Another node that is on the kept chain is followed instead.
    world.nodes.append(ScriptedChain("second"))
    world.nodes[1].grow(*[5] * 40)
    world.restart()
    await world.follow()
    assert await world.rows() == chain_from(world.nodes[1], 0)
    for statement in (
        update(schema.chain_blocks).values(fees=1),
        delete(schema.chain_blocks),
    ):
        with pytest.raises(DBAPIError, match="settled block of the chain never changes"):
            async with transaction(world.engine) as connection:
                await connection.execute(statement)
    await world.engine.dispose()


async def test_a_node_that_lags_or_is_in_initial_download_changes_nothing(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path, 1)
    world.node.grow(*[5] * 30)
    await world.follow()
    kept = await world.rows()
    lagging = ScriptedChain("lagging")
    lagging.grow(*[5] * 25)
    world.node.down = True
    world.nodes.append(lagging)
    world.restart()
    assert await world.follower.step() == 0
    assert await world.rows() == kept
    lagging.grow(*[5] * 10)
    lagging.ibd = True
    with pytest.raises(NodeUnreachable):
        await world.follower.step()
    lagging.ibd = False
    await world.follow()
    assert await world.rows() == chain_from(lagging, 0)
    await world.engine.dispose()


async def test_a_pool_that_began_lower_gets_its_blocks_too(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path, 280)
    world.node.grow(*range(300))
    await world.follow()
    assert min(await world.rows()) == 280 - INDEX_BLOCKS
    await world.begin_at(200)
    await world.follow()
    assert await world.rows() == chain_from(world.node, 200 - INDEX_BLOCKS)
    await world.engine.dispose()


async def test_fees_of_a_pruned_block_are_not_known_until_a_node_has_it_again(
    tmp_path: Path,
) -> None:
    world = World()
    await world.open(tmp_path, 1)
    world.node.grow(*[5] * 30)
    world.node.pruned = {world.node.active[7].hash}
    await world.follow()
    assert await world.rows() == chain_from(world.node, 0) | {7: (world.node.active[7].hash, None)}
    world.node.pruned = set()
    assert await world.follower.step() == 0
    world.now_ms += GONE_RETRY_MS
    assert await world.follower.step() == 1
    assert await world.rows() == chain_from(world.node, 0)
    await world.engine.dispose()


async def test_two_processes_write_what_one_would(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path, 1)
    world.node.grow(*[5] * 20)
    other = ChainFollower(world.engine, PARAMS, [world.node], lambda: 0)
    kept = await other._kept()
    await world.follow()
    info = await world.node.chain_info()
    # It read before the first one wrote; in the meantime the chain changed as well.
    await other._follow(world.node, info, kept, 0)
    assert await world.rows() == chain_from(world.node, 0)
    world.node.cut(15)
    world.node.grow(*[6] * 20, branch=1)
    kept = await other._kept()
    await world.follow()
    await other._follow(world.node, info, kept, 0)
    await world.follow()
    assert await world.rows() == chain_from(world.node, 0)
    await world.engine.dispose()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 6)),
        st.tuples(st.just("reorg"), st.integers(1, 8)),
        st.tuples(st.just("fail"), st.integers(0, 12)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("step"), st.integers(1, 3)),
    ),
    max_size=25,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
async def test_whatever_happens_the_rows_end_as_the_chain(steps: list[tuple[str, int]]) -> None:
    """Growth, reorganisations above maturity, failures in any question, restarts."""
    with DATABASES.example() as directory:
        world = World()
        await world.open(directory, 1)
        world.node.grow(*range(10))
        branch = 0
        for what, number in steps:
            node = world.node
            if what == "grow":
                node.grow(*range(number), branch=branch)
            elif what == "reorg":
                branch += 1
                # Never as deep as what the follower may have settled.
                node.cut(max(0, node.height - number))
                node.grow(*range(number), branch=branch)
            elif what == "restart":
                world.restart()
            elif what == "fail":
                node.fail_after = number
            else:
                for _ in range(number):
                    await attempt(world)
                node.fail_after, node.down = None, False
        world.node.fail_after, world.node.down = None, False
        world.node.grow(3, branch=branch)
        await world.follow()
        assert await world.rows() == chain_from(world.node, 0)
        await world.engine.dispose()


async def attempt(world: World) -> None:
    try:
        await world.follower.step()
    except NodeUnreachable:
        return
