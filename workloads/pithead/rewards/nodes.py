"""The nodes of one coin as rewards asks them: all tips, all votes, and one chain to read.

A node that fails a call has no say in that round; only when none answers is that
an error. It decides nothing about blocks: that is `verdict`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pithead.coins.node import ChainInfo, HeaderInfo, NodeError, Submission
from pithead.coins.params import ChainParams
from pithead.rewards.verdict import Tip, Vote

AnswerT = TypeVar("AnswerT")


class ChainNode(Protocol):
    """What rewards asks of a node; `pithead.coins.node.RpcNode` is one."""

    name: str

    async def chain_info(self) -> ChainInfo:
        """Where the node stands."""

    async def block_header(self, identity: bytes) -> HeaderInfo | None:
        """What the node knows of a block."""

    async def block_bytes(self, identity: bytes) -> bytes | None:
        """A whole block."""

    async def block_hash_at(self, height: int) -> bytes | None:
        """The main chain's block at a height."""

    async def submitted(self, block: bytes) -> Submission:
        """Submit a block and look it up afterwards."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A node with its tip when it was asked."""

    node: ChainNode
    tip: Tip
    best: bytes


class NodeLost(Exception):
    """Raised when a node contradicts its own answer of a moment ago: ask again later."""


class Nodes:
    """All nodes of one coin, in the order of the CoinEndpoint."""

    def __init__(self, params: ChainParams, nodes: Sequence[ChainNode]) -> None:
        self.params = params
        self._nodes = tuple(nodes)

    async def standings(self) -> list[Standing]:
        """Tips of the nodes that answer; raises a NodeError when none does."""
        return await self._each(self._nodes, _standing)

    async def votes(self, standings: Sequence[Standing], block_hash: bytes) -> list[Vote]:
        """What the nodes of `standings` say of a block; raises a NodeError when none answers."""

        async def vote(node: ChainNode) -> Vote:
            header = await node.block_header(block_hash)
            confirmations = header.confirmations if header is not None else 0
            return Vote(tips[node.name], confirmations, header is not None)

        tips = {standing.node.name: standing.tip for standing in standings}
        return await self._each([standing.node for standing in standings], vote)

    async def block_bytes(self, block_hash: bytes) -> bytes | None:
        """A whole block from the first node that has it; raises a NodeError when none answers."""
        answers = await self._each(self._nodes, lambda node: node.block_bytes(block_hash))
        return next((raw for raw in answers if raw is not None), None)

    async def bits(self, block_hash: bytes) -> int | None:
        """Compact target of a block, None when no node knows it; raises a NodeError."""
        answers = await self._each(self._nodes, lambda node: node.block_header(block_hash))
        return next((header.bits for header in answers if header is not None), None)

    async def submit(self, block: bytes) -> list[Submission]:
        """Submit a block to every node; raises a NodeError when none answers."""
        return await self._each(self._nodes, lambda node: node.submitted(block))

    async def _each(
        self, nodes: Sequence[ChainNode], ask: Callable[[ChainNode], Awaitable[AnswerT]]
    ) -> list[AnswerT]:
        async def guarded(node: ChainNode) -> AnswerT | NodeError:
            try:
                return await ask(node)
            except NodeError as error:
                return error

        answers = await asyncio.gather(*(guarded(node) for node in nodes))
        good = [answer for answer in answers if not isinstance(answer, NodeError)]
        if not good:
            for answer in answers:
                if isinstance(answer, NodeError):
                    raise answer
        return good


def leader(standings: Sequence[Standing]) -> Standing | None:
    """The node whose chain counts: entitled to vote, most chainwork, first in order."""
    entitled = [standing for standing in standings if standing.tip.votes]
    return max(entitled, key=lambda standing: standing.tip.chainwork, default=None)


async def _standing(node: ChainNode) -> Standing:
    info = await node.chain_info()
    header = await node.block_header(info.best)
    tip = Tip(
        node=node.name,
        height=info.blocks,
        headers=info.headers,
        chainwork=header.chainwork if header is not None else 0,
        initial_download=info.ibd,
    )
    return Standing(node, tip, info.best)
