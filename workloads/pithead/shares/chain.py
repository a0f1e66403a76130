"""The hub's nodes of one coin: the height of the one in use, and headers from any of them."""

from collections.abc import Sequence
from typing import Protocol

from pithead.coins.node import ChainInfo, HeaderInfo, NodeError


class ChainNode(Protocol):
    """What accounting asks of a node; `pithead.coins.node.RpcNode` is one."""

    async def chain_info(self) -> ChainInfo:
        """Where the node stands."""

    async def block_header(self, identity: bytes) -> HeaderInfo | None:
        """What the node knows of a block."""


class HubChain:
    """Nodes in the order of the CoinEndpoint, main before standby."""

    def __init__(self, nodes: Sequence[ChainNode]) -> None:
        self._nodes = tuple(nodes)

    async def height(self) -> int | None:
        """Height of the first node that answers and is not in initial download.

        None when all that answer are; raises a NodeError when none answers.
        """
        failure: NodeError | None = None
        answered = False
        for node in self._nodes:
            try:
                info = await node.chain_info()
            except NodeError as error:
                failure = failure or error
                continue
            answered = True
            if not info.ibd:
                return info.blocks
        if failure is not None and not answered:
            raise failure
        return None

    async def header(self, identity: bytes) -> HeaderInfo | None:
        """Header of a block, on a main chain if any node has it there, None when unknown to all.

        Raises a NodeError when it is unknown and a node could not be asked.
        """
        failure: NodeError | None = None
        aside: HeaderInfo | None = None
        for node in self._nodes:
            try:
                header = await node.block_header(identity)
            except NodeError as error:
                failure = failure or error
                continue
            if header is not None and header.confirmations >= 0:
                return header
            aside = aside or header
        if aside is None and failure is not None:
            raise failure
        return aside
