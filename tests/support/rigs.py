"""Rigs over private nodes, for the contract suites."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pithead.coins.node import NodeAddress, RpcNode
from pithead.coins.registry import chain_params
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.node_contract import Rig


@asynccontextmanager
async def devchain_rig(data_dir: Path) -> AsyncIterator[Rig]:
    """A devchain in this loop."""
    async with (
        DevchainTask(devchain_settings(data_dir)) as devchain,
        RpcNode(devchain.access) as node,
    ):
        yield Rig(chain_params("devchain", "regtest"), devchain.access, node)


@asynccontextmanager
async def litecoin_rig(access: NodeAddress) -> AsyncIterator[Rig]:
    """A litecoind that runs already."""
    async with RpcNode(access) as node:
        yield Rig(chain_params("litecoin", "regtest"), access, node)
