"""Segments confirmed or disputed by nodes that are scripted."""

from pathlib import Path

import pytest
from sqlalchemy import insert, select

from pithead.coins.node import ChainInfo, HeaderInfo, NodeUnreachable
from pithead.shares import schema
from pithead.shares.chain import HubChain
from pithead.shares.confirm import Confirmer
from pithead.shares.states import SegmentState
from pithead.shares.verdict import PATIENCE_MS
from pithead.store import reading, transaction
from tests.support.shares import BITS, COIN, PARAMS, make_store, parent

pytestmark = pytest.mark.databases


class ScriptedNode:
    """Knows the headers that it is given; refuses to talk while `down`."""

    def __init__(self, blocks: int = 0, *, ibd: bool = False, down: bool = False) -> None:
        self.blocks = blocks
        self.ibd = ibd
        self.down = down
        self.headers: dict[bytes, HeaderInfo] = {}

    def know(
        self, block: bytes, height: int, *, confirmations: int = 1, following: bytes | None = None
    ) -> None:
        self.headers[block] = HeaderInfo(
            block, height, confirmations, None, following, BITS, 0, height
        )

    async def chain_info(self) -> ChainInfo:
        self._answer()
        return ChainInfo("regtest", self.blocks, self.blocks, bytes(32), self.ibd, 1.0)

    async def block_header(self, identity: bytes) -> HeaderInfo | None:
        self._answer()
        return self.headers.get(identity)

    def _answer(self) -> None:
        if self.down:
            raise NodeUnreachable("scripted", "http://scripted", "any", "it is down")


class World:
    def __init__(self) -> None:
        self.now_ms = 0
        self.node = ScriptedNode()

    async def open(self, directory: Path) -> None:
        self.engine, _ = await make_store(directory)
        self.confirmer = Confirmer(self.engine, PARAMS, HubChain([self.node]), lambda: self.now_ms)

    async def add(self, height: int, bits: int = BITS, value: int = 5_000_000_000) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(
                insert(schema.segments).values(
                    coin=COIN,
                    parent=parent(height),
                    height=height,
                    bits=bits,
                    aux=[],
                    value=value,
                    state=SegmentState.UNKNOWN,
                    first_seen_ms=self.now_ms,
                )
            )

    async def states(self) -> list[str]:
        async with reading(self.engine) as connection:
            query = select(schema.segments.c.state).order_by(schema.segments.c.id)
            return list(await connection.scalars(query))

    async def values(self) -> list[tuple[int | None, str | None]]:
        columns = schema.segments.c
        async with reading(self.engine) as connection:
            query = select(columns.subsidy, columns.doubt).order_by(columns.id)
            return [(row.subsidy, row.doubt) for row in await connection.execute(query)]

    async def reasons(self) -> list[str]:
        async with reading(self.engine) as connection:
            return list(await connection.scalars(select(schema.decisions.c.reason)))


async def test_a_segment_is_confirmed_at_the_tip_and_settled_under_its_block(
    tmp_path: Path,
) -> None:
    world = World()
    await world.open(tmp_path)
    await world.add(10)
    assert await world.confirmer.step() == 0
    world.node.know(parent(10), 9)
    assert await world.confirmer.step() == 1
    assert await world.states() == [SegmentState.CONFIRMED]
    world.node.know(parent(10), 9, confirmations=2, following=parent(11))
    world.node.know(parent(11), 10)
    assert await world.confirmer.step() == 1
    assert await world.states() == [SegmentState.SETTLED]
    assert await world.confirmer.step() == 0
    await world.engine.dispose()


async def test_a_segment_that_no_node_knows_for_long_is_disputed_with_a_decision(
    tmp_path: Path,
) -> None:
    world = World()
    await world.open(tmp_path)
    await world.add(10)
    await world.confirmer.step()
    world.now_ms = PATIENCE_MS - 1
    await world.confirmer.step()
    assert await world.states() == [SegmentState.UNKNOWN]
    world.now_ms = PATIENCE_MS
    await world.confirmer.step()
    assert await world.states() == [SegmentState.DISPUTED]
    assert await world.reasons() == ["no node knows its parent after 600 s"]
    # Only a decision helps from now on.
    world.node.know(parent(10), 9)
    assert await world.confirmer.step() == 0
    await world.engine.dispose()


async def test_wrong_heights_and_bits_are_disputed(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path)
    await world.add(10)
    await world.add(20, bits=BITS - 1)
    world.node.know(parent(10), 14)
    world.node.know(parent(20), 19, confirmations=2, following=parent(21))
    world.node.know(parent(21), 20)
    assert await world.confirmer.step() == 2
    assert await world.states() == [SegmentState.DISPUTED] * 2
    await world.engine.dispose()


async def test_a_node_that_is_down_disputes_nothing(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path)
    await world.add(10)
    world.now_ms = 10 * PATIENCE_MS
    world.node.down = True
    with pytest.raises(NodeUnreachable):
        await world.confirmer.step()
    assert await world.states() == [SegmentState.UNKNOWN]
    await world.engine.dispose()


async def test_a_node_that_comes_back_late_gets_its_time_to_catch_up(tmp_path: Path) -> None:
    world = World()
    await world.open(tmp_path)
    await world.add(10)
    world.node.down = True
    with pytest.raises(NodeUnreachable):
        await world.confirmer.step()
    world.now_ms = 10 * PATIENCE_MS
    world.node.down = False
    await world.confirmer.step()
    assert await world.states() == [SegmentState.UNKNOWN]
    world.now_ms += PATIENCE_MS
    world.node.know(parent(10), 9)
    await world.confirmer.step()
    assert await world.states() == [SegmentState.CONFIRMED]
    await world.engine.dispose()


async def test_a_segment_that_nobody_knows_holds_up_no_other_while_a_standby_is_away(
    tmp_path: Path,
) -> None:
    world = World()
    await world.open(tmp_path)
    chain = HubChain([world.node, ScriptedNode(down=True)])
    world.confirmer = Confirmer(world.engine, PARAMS, chain, lambda: world.now_ms)
    await world.add(10)
    await world.add(11)
    world.node.know(parent(11), 10)
    with pytest.raises(NodeUnreachable):
        await world.confirmer.step()
    assert await world.states() == [SegmentState.UNKNOWN, SegmentState.CONFIRMED]
    await world.engine.dispose()


@pytest.mark.gate
async def test_any_node_that_knows_a_block_is_enough() -> None:
    down, ignorant, knowing = ScriptedNode(down=True), ScriptedNode(), ScriptedNode()
    knowing.know(parent(5), 4)
    found = await HubChain([down, ignorant, knowing]).header(parent(5))
    assert found is not None
    assert found.height == 4
    with pytest.raises(NodeUnreachable):
        await HubChain([down, ignorant]).header(parent(5))
    assert await HubChain([ignorant]).header(parent(5)) is None


@pytest.mark.gate
async def test_the_height_is_of_the_first_node_that_is_up_and_synced() -> None:
    nodes = [ScriptedNode(9, down=True), ScriptedNode(3, ibd=True), ScriptedNode(7)]
    assert await HubChain(nodes).height() == 7
    assert await HubChain(nodes[:2]).height() is None
    with pytest.raises(NodeUnreachable):
        await HubChain(nodes[:1]).height()


async def test_a_settled_segment_knows_its_subsidy_and_whether_its_value_can_be(
    tmp_path: Path,
) -> None:
    world = World()
    await world.open(tmp_path)
    subsidy = PARAMS.subsidy(10)
    await world.add(10, value=subsidy + 1)
    await world.add(20, value=subsidy - 1)
    for height in (10, 20):
        world.node.know(parent(height), height - 1)
    await world.confirmer.step()
    assert await world.values() == [(subsidy, None), (subsidy, None)]
    for height in (10, 20):
        following = parent(height + 1)
        world.node.know(parent(height), height - 1, confirmations=2, following=following)
        world.node.know(following, height)
    await world.confirmer.step()
    # A doubted value is a note: the shares earn all the same.
    assert await world.states() == [SegmentState.SETTLED] * 2
    assert await world.values() == [
        (subsidy, None),
        (subsidy, f"it claims a block value of {subsidy - 1}, below the subsidy of {subsidy}"),
    ]
    await world.engine.dispose()
