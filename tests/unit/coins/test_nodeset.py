"""Several nodes: the feed of templates, fail-over and failback, submitting to all.

Every node is a real devchain in this loop, with faults on request. The nodes do not talk to one
another: a block reaches both only when it is submitted to both.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from pithead.coins.address import address_of_script
from pithead.coins.node import NodeError, RpcFault, RpcNode
from pithead.coins.nodeset import Announced, Confirmed, Event, NodeSet
from pithead.coins.registry import chain_params
from pithead.coins.script import p2wpkh
from pithead.coins.template import Template
from pithead.config import NodeSettings
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.node_contract import solve

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")
POLL_MS = 20
EventT = TypeVar("EventT")


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def settings_of(devchain: DevchainTask, name: str, *, standby: bool = False) -> NodeSettings:
    access = devchain.access
    return NodeSettings(
        name=name, url=access.url, user=access.user, password=access.password, standby=standby
    )


class Bed:
    """Two devchains, main and spare, and a feed that is read in the background."""

    def __init__(self, main: DevchainTask, spare: DevchainTask, nodes: NodeSet) -> None:
        self.main = main
        self.spare = spare
        self.nodes = nodes
        self.events: list[Event] = []
        self.looked = 0

    async def read(self) -> None:
        async with aclosing(self.nodes.templates()) as feed:
            async for event in feed:
                self.events.append(event)

    async def until(self, kind: type[EventT], fits: Callable[[EventT], bool]) -> EventT:
        """The first event that fits behind the one that was found last."""
        async with asyncio.timeout(5):
            while True:
                while self.looked < len(self.events):
                    event = self.events[self.looked]
                    self.looked += 1
                    if isinstance(event, kind) and fits(event):
                        return event
                await asyncio.sleep(0.005)

    async def fault(self, devchain: DevchainTask, **plan: object) -> None:
        async with RpcNode(devchain.access) as node:
            await node.call("devchain_fault", plan)

    async def mine(self, *devchains: DevchainTask) -> bytes:
        """A block made on the first and submitted to all given; its hash."""
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(RpcNode(one.access)) for one in devchains]
            block = solve(PARAMS, await nodes[0].get_template(PARAMS))
            for node in nodes:
                submission = await node.submitted(block)
                assert submission.on_chain
            return submission.hash


@asynccontextmanager
async def bed_of(tmp_path: Path, *, refresh_ms: int = 60_000) -> AsyncIterator[Bed]:
    async with (
        DevchainTask(devchain_settings(tmp_path / "main")) as main,
        DevchainTask(devchain_settings(tmp_path / "spare")) as spare,
        NodeSet(
            PARAMS,
            [settings_of(spare, "spare", standby=True), settings_of(main, "main")],
            now_ms=now_ms,
            poll_interval_ms=POLL_MS,
            refresh_ms=refresh_ms,
        ) as nodes,
    ):
        bed = Bed(main, spare, nodes)
        reading = asyncio.create_task(bed.read())
        await bed.until(Template, lambda _: True)
        yield bed
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with bed_of(tmp_path) as made:
        yield made


def on(parent: bytes) -> Callable[[Template], bool]:
    return lambda template: template.parent == parent


async def test_mains_come_before_standbys_whatever_their_order(bed: Bed) -> None:
    assert [node.name for node in bed.nodes.nodes] == ["main", "spare"]
    assert bed.nodes.active.name == "main"
    first = bed.events[0]
    assert isinstance(first, Template)
    assert first.height == 1


async def test_a_new_tip_brings_one_template_and_then_confirmations(bed: Bed) -> None:
    tip = await bed.mine(bed.main, bed.spare)
    await bed.until(Template, on(tip))
    confirmed = await bed.until(Confirmed, lambda one: one.parent == tip)
    assert abs(confirmed.now_ms - now_ms()) < 5000
    await bed.until(Confirmed, lambda one: one.node == "spare")
    templates = [one for one in bed.events if isinstance(one, Template) and one.parent == tip]
    assert len(templates) == 1


async def test_the_long_poll_brings_news_before_the_next_poll(tmp_path: Path) -> None:
    async with (
        DevchainTask(devchain_settings(tmp_path / "main")) as main,
        NodeSet(
            PARAMS, [settings_of(main, "main")], now_ms=now_ms, poll_interval_ms=60_000
        ) as nodes,
        aclosing(nodes.templates()) as feed,
    ):
        first = await anext(feed)
        assert isinstance(first, Template)
        bed = Bed(main, main, nodes)
        for _ in range(3):
            waiting = asyncio.create_task(anext(feed))
            await asyncio.sleep(0.05)
            tip = await bed.mine(main)
            async with asyncio.timeout(2):
                event = await waiting
            assert isinstance(event, Template)
            assert event.parent == tip


async def test_a_template_is_fetched_again_when_it_is_old(tmp_path: Path) -> None:
    async with bed_of(tmp_path, refresh_ms=100) as bed:
        first = bed.events[0]
        assert isinstance(first, Template)
        for _ in range(3):
            await bed.until(Template, on(first.parent))


async def test_a_tip_that_only_the_standby_knows_is_announced(bed: Bed) -> None:
    tip = await bed.mine(bed.spare)
    announced = await bed.until(Announced, lambda one: one.tip == tip)
    assert (announced.node, announced.height) == ("spare", 1)
    assert bed.nodes.active.name == "main"


async def test_work_moves_to_the_standby_and_back(bed: Bed) -> None:
    tip = await bed.mine(bed.main, bed.spare)
    await bed.until(Template, on(tip))
    await bed.fault(bed.main, drop="*")
    moved = await bed.until(Template, on(tip))
    assert moved.height == 2
    assert bed.nodes.active.name == "spare"
    health = bed.nodes.health[0]
    assert not health.healthy
    assert "cannot be reached" in health.trouble
    next_tip = await bed.mine(bed.spare)
    await bed.until(Template, on(next_tip))
    # The main node missed that block; it is as high again after a branch of its own.
    await bed.fault(bed.main)
    await bed.mine(bed.main)
    async with asyncio.timeout(5):
        while bed.nodes.active.name != "main":
            await asyncio.sleep(0.01)
    assert bed.nodes.health[0].trouble == ""


async def test_a_node_without_work_still_announces_its_tip(tmp_path: Path) -> None:
    async with bed_of(tmp_path, refresh_ms=50) as bed, RpcNode(bed.main.access) as main:
        for devchain in (bed.main, bed.spare):
            await bed.fault(devchain, refuse="getblocktemplate")
        async with asyncio.timeout(5):
            while not all("refused" in health.trouble for health in bed.nodes.health):
                await asyncio.sleep(0.005)
        # The long poll that was open before still brings the first block's work.
        nobody = address_of_script(PARAMS, p2wpkh(bytes(20)))
        await main.call("generatetoaddress", 1, nobody)
        await bed.until(Template, on(await main.best_hash()))
        await main.call("generatetoaddress", 1, nobody)
        tip = await main.best_hash()
        announced = await bed.until(Announced, lambda one: one.tip == tip)
        assert (announced.node, announced.height) == ("main", 2)


@pytest.mark.parametrize(
    ("plan", "trouble"),
    [
        pytest.param({"initialblockdownload": True}, "still syncing", id="syncing"),
        pytest.param({"disconnected": True}, "has no peers", id="no peers"),
        pytest.param({"refuse": "getblocktemplate"}, "refused", id="refuses templates"),
        pytest.param({"garble": "*"}, "not JSON", id="garbles"),
    ],
)
async def test_a_node_without_work_is_left_until_it_gives_some(
    tmp_path: Path, plan: dict[str, object], trouble: str
) -> None:
    # Old templates are fetched again at once, so that the set asks for work all the time.
    async with bed_of(tmp_path, refresh_ms=50) as bed:
        await bed.fault(bed.main, **plan)
        async with asyncio.timeout(5):
            while bed.nodes.active.name != "spare":
                await asyncio.sleep(0.005)
        assert trouble in bed.nodes.health[0].trouble
        for _ in range(20):
            await asyncio.sleep(POLL_MS / 1000)
            assert bed.nodes.active.name == "spare"
        await bed.fault(bed.main)
        async with asyncio.timeout(5):
            while bed.nodes.active.name != "main":
                await asyncio.sleep(0.01)


async def test_without_any_node_the_feed_waits_and_confirms_nothing(bed: Bed) -> None:
    for devchain in (bed.main, bed.spare):
        await bed.fault(devchain, hang="*", seconds=0.5)
    await asyncio.sleep(0.1)
    seen = len(bed.events)
    await asyncio.sleep(0.2)
    assert len(bed.events) == seen
    bed.looked = seen
    await bed.until(Confirmed, lambda _: True)


async def test_a_lagging_node_is_left_for_one_that_leads(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pithead.coins.nodeset.LAG_MS", 100)
    tip = await bed.mine(bed.spare)
    template = await bed.until(Template, on(tip))
    assert template.height == 2
    assert bed.nodes.active.name == "spare"
    assert "lags behind: block 0, another node has 1" in bed.nodes.health[0].trouble


async def test_a_block_goes_to_every_node_and_each_is_asked_afterwards(bed: Bed) -> None:
    template = bed.events[0]
    assert isinstance(template, Template)
    block = solve(PARAMS, template)
    await bed.fault(bed.main, swallow="submitblock")
    main, spare = await bed.nodes.submit_everywhere(block)
    assert (main.node, main.word, main.confirmations) == ("main", None, None)
    assert (spare.node, spare.word, spare.confirmations) == ("spare", None, 1)
    await bed.fault(bed.main, drop="*")
    main, spare = await bed.nodes.submit_everywhere(block)
    assert main.word is not None
    assert "cannot be reached" in main.word
    assert not main.on_chain
    assert (spare.word, spare.on_chain) == ("duplicate", True)


async def test_a_question_goes_to_the_next_node_when_one_fails(bed: Bed) -> None:
    await bed.mine(bed.main)
    assert (await bed.nodes.ask(lambda node: node.chain_info())).blocks == 1
    await bed.fault(bed.main, drop="*")
    assert (await bed.nodes.ask(lambda node: node.chain_info())).blocks == 0
    with pytest.raises(RpcFault):
        await bed.nodes.ask(lambda node: node.call("nonesuch"))
    await bed.fault(bed.spare, drop="*")
    with pytest.raises(NodeError):
        await bed.nodes.ask(lambda node: node.chain_info())


async def test_watching_alone_keeps_health_up_to_date(tmp_path: Path) -> None:
    async with (
        DevchainTask(devchain_settings(tmp_path / "main")) as main,
        NodeSet(
            PARAMS, [settings_of(main, "main")], now_ms=now_ms, poll_interval_ms=POLL_MS
        ) as nodes,
    ):
        assert nodes.health[0].trouble == "not asked yet"
        watching = asyncio.create_task(nodes.watch())
        async with asyncio.timeout(5):
            while not nodes.health[0].healthy:
                await asyncio.sleep(0.005)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def test_a_set_needs_a_node() -> None:
    with pytest.raises(ValueError, match="at least one node"):
        NodeSet(PARAMS, [], now_ms=now_ms)
