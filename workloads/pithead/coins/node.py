"""JSON-RPC of one coin node of the Bitcoin family: calls with limits, answers with checked types.

Every call has a time limit and a limit on the size of its answer; whatever goes wrong becomes one
of the classes of `node_errors`, in one place (`_fault`, `RpcNode._exchange`). A long poll has a
connection and a limit of its own. What a node says of a submitted block is kept but not believed:
`submitted` looks the block up by its hash.

It knows no pool, no job and no wallet, and never decides which of several nodes to use.
"""

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import aiohttp

from pithead.coins.block import BlockError, BlockHeader, parse_block_coinbase
from pithead.coins.hashing import block_hash
from pithead.coins.node_errors import (
    FOREIGN_TEXT_MAX,
    NodeBusy,
    NodeError,
    NodeGarbled,
    NodeNotConnected,
    NodeNotReady,
    NodeOfOtherChain,
    NodeRefused,
    NodeSyncing,
    NodeTimeout,
    NodeUnreachable,
    RpcFault,
)
from pithead.coins.node_facts import (
    ChainInfo,
    HeaderInfo,
    Submission,
    read_chain_info,
    read_hash,
    read_header_info,
    read_optional_hex,
)
from pithead.coins.params import ChainParams
from pithead.coins.template import Template, TemplateError, parse_template
from pithead.coins.tx import Tx

__all__ = [
    "ChainInfo",
    "HeaderInfo",
    "NodeAccess",
    "NodeAddress",
    "NodeBusy",
    "NodeError",
    "NodeGarbled",
    "NodeNotConnected",
    "NodeNotReady",
    "NodeOfOtherChain",
    "NodeRefused",
    "NodeSyncing",
    "NodeTimeout",
    "NodeUnreachable",
    "RpcFault",
    "RpcNode",
    "Submission",
]

CALL_TIMEOUT_S = 10.0
"""A healthy node answers in milliseconds; connecting a full block takes seconds."""

LONGPOLL_TIMEOUT_S = 3600.0
"""A node holds a long poll, and one of its RPC threads, until there is news, even when the asker
has gone. Asking anew every minute would use up its threads on a quiet chain."""

CONNECT_TIMEOUT_S = 3.0

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""A full template of 4,000,000 weight is 8 MB of hex and some JSON; a runaway answer is not."""

CONNECTIONS_MAX = 8
"""To one node: a long poll, a poll, and a few calls at once."""

IDLE_CONNECTION_S = 15.0
"""Below the 30 s after which nodes close an idle connection, so that we seldom lose that race."""

# Error codes of the Bitcoin family (Bitcoin Core, src/rpc/protocol.h).
INVALID_ADDRESS_OR_KEY = -5
INVALID_PARAMETER = -8
NOT_CONNECTED = -9
IN_INITIAL_DOWNLOAD = -10
VERIFY_ALREADY_IN_CHAIN = -27
IN_WARMUP = -28

_CHUNK_BYTES = 1 << 16

AnswerT = TypeVar("AnswerT")


CHAIN_NAMES = {
    "mainnet": {"main", "mainnet"},
    "testnet": {"test", "testnet", "testnet3", "testnet4"},
    "regtest": {"regtest", "simnet"},
}
"""What nodes of the family call each network in `getblockchaininfo`."""


class NodeAccess(Protocol):
    """How to reach a node; `pithead.config.NodeSettings` is one."""

    @property
    def name(self) -> str:
        """Name in logs and errors."""

    @property
    def url(self) -> str:
        """`http://host:port`."""

    @property
    def user(self) -> str:
        """RPC user."""

    @property
    def password(self) -> str:
        """RPC password."""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A `NodeAccess` of its own, for tools and tests."""

    name: str
    url: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"NodeAddress(name={self.name!r}, url={self.url!r}, user={self.user!r})"


class RpcNode:
    """One node. Connects lazily, inside a running loop; close it with `close` or `async with`."""

    def __init__(
        self,
        access: NodeAccess,
        *,
        network: str | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        """With `network`, `chain_info` refuses a node of another one."""
        self.name = access.name
        self.url = access.url.rstrip("/")
        self.timeout_s = timeout_s
        self._network = network
        self._chain_checked = False
        self._user = access.user
        credentials = b64encode(f"{access.user}:{access.password}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/json",
        }
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"RpcNode({self.name} at {self.url})"

    async def __aenter__(self) -> "RpcNode":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, for good. Safe to call twice."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: str,
        *params: object,
        wallet: str | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Result of one RPC, decimals as `Decimal`; raises NodeError.

        `wallet` asks that wallet of the node. Methods used here may be repeated without harm, so a
        connection that the node closed while idle is made anew once.
        """
        limit = self.timeout_s if timeout_s is None else timeout_s
        body = json.dumps(
            {"jsonrpc": "1.0", "id": method, "method": method, "params": params}
        ).encode()
        path = "/" if wallet is None else f"/wallet/{quote(wallet, safe='')}"
        try:
            async with asyncio.timeout(limit):
                try:
                    status, data = await self._exchange(method, path, body)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    status, data = await self._exchange(method, path, body)
        except aiohttp.ServerTimeoutError as error:
            reason = f"no connection within {CONNECT_TIMEOUT_S:g} s"
            raise NodeUnreachable(self.name, self.url, method, reason) from error
        except TimeoutError as error:
            raise NodeTimeout(self.name, self.url, method, limit) from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise NodeGarbled(self.name, self.url, method, f"answer cut off: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: an address that is no URL.
            raise NodeUnreachable(self.name, self.url, method, _reason(error)) from error
        return self._result(method, status, data)

    async def get_template(
        self, params: ChainParams, longpollid: str | None = None, *, timeout_s: float | None = None
    ) -> Template:
        """A block template; with `longpollid` only when it differs from that one. NodeError.

        The first one is asked for only when the node serves the chain of `params`.
        """
        if not self._chain_checked:
            await self._check_chain(params.network, timeout_s)
        request: dict[str, object] = {
            "rules": list(params.gbt_rules),
            "capabilities": ["coinbasevalue", "longpoll", "workid"],
        }
        if longpollid is not None:
            request["longpollid"] = longpollid
        if timeout_s is None:
            timeout_s = self.timeout_s if longpollid is None else LONGPOLL_TIMEOUT_S
        reply = await self.call("getblocktemplate", request, timeout_s=timeout_s)
        try:
            return parse_template(params, reply)
        except TemplateError as error:
            raise NodeGarbled(self.name, self.url, "getblocktemplate", str(error)) from error

    async def submit_block(self, block: bytes) -> str | None:
        """The node's word on a block: None when it does not object. Not to be trusted alone."""
        word = await self.call("submitblock", block.hex())
        return None if word is None else str(word)[:FOREIGN_TEXT_MAX]

    async def submitted(self, block: bytes) -> Submission:
        """Submit a block, then look it up by its hash.

        A submit that fails in any way is still looked up: the node may have the block. Raises the
        NodeError of the lookup.
        """
        identity = block_hash(block[:80])
        try:
            word = await self.submit_block(block)
        except NodeError as error:
            word = error.trouble
        found = await self.block_header(identity)
        return Submission(self.name, identity, word, found.confirmations if found else None)

    async def best_hash(self) -> bytes:
        """Hash of the tip, internal order."""
        return self._typed("getbestblockhash", read_hash, await self.call("getbestblockhash"))

    async def block_header(self, identity: bytes) -> HeaderInfo | None:
        """What the node knows of a block, or None when it does not know it."""
        return self._typed(
            "getblockheader", read_header_info, await self._known("getblockheader", identity, True)
        )

    async def block_bytes(self, identity: bytes) -> bytes | None:
        """A whole block as on the wire, or None when the node does not know it."""
        return self._typed(
            "getblock", read_optional_hex, await self._known("getblock", identity, 0)
        )

    async def coinbase(self, params: ChainParams, identity: bytes) -> tuple[BlockHeader, Tx] | None:
        """Header and coinbase of a block, or None when the node does not know it.

        A node that has pruned the block away raises an RpcFault.
        """
        data = await self.block_bytes(identity)
        if data is None:
            return None
        try:
            header, coinbase = parse_block_coinbase(params, data)
        except BlockError as error:
            raise NodeGarbled(self.name, self.url, "getblock", str(error)) from error
        if header.hash() != identity:
            raise NodeGarbled(self.name, self.url, "getblock", "another block than asked for")
        return header, coinbase

    async def block_hash_at(self, height: int) -> bytes | None:
        """Hash of the main chain's block at `height`, or None above the tip."""
        try:
            reply = await self.call("getblockhash", height)
        except RpcFault as fault:
            if fault.code == INVALID_PARAMETER:
                return None
            raise
        return self._typed("getblockhash", read_hash, reply)

    async def chain_info(self, *, timeout_s: float | None = None) -> ChainInfo:
        """Where the node stands; raises NodeOfOtherChain as well."""
        if self._network is not None:
            return await self._check_chain(self._network, timeout_s)
        return await self._chain_info(timeout_s)

    async def _chain_info(self, timeout_s: float | None) -> ChainInfo:
        reply = await self.call("getblockchaininfo", timeout_s=timeout_s)
        return self._typed("getblockchaininfo", read_chain_info, reply)

    async def _check_chain(self, network: str, timeout_s: float | None) -> ChainInfo:
        info = await self._chain_info(timeout_s)
        if info.chain not in CHAIN_NAMES.get(network, {network}):
            raise NodeOfOtherChain(self.name, self.url, "getblockchaininfo", network, info.chain)
        self._chain_checked = True
        return info

    async def _known(self, method: str, identity: bytes, form: object) -> Any:
        try:
            return await self.call(method, identity[::-1].hex(), form)
        except RpcFault as fault:
            if fault.code == INVALID_ADDRESS_OR_KEY:
                return None
            raise

    def _typed(self, method: str, shape: Callable[[Any], AnswerT], reply: object) -> AnswerT:
        try:
            return shape(reply)
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise NodeGarbled(
                self.name, self.url, method, f"unexpected answer: {error!r}"[:FOREIGN_TEXT_MAX]
            ) from error

    async def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self._closed:
            raise NodeUnreachable(self.name, self.url, method, "this client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS_MAX, keepalive_timeout=IDLE_CONNECTION_S
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            )
        async with self._session.post(
            self.url + path, data=body, headers=self._headers, allow_redirects=False
        ) as response:
            data = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                data += chunk
                if len(data) > ANSWER_BYTES_MAX:
                    raise NodeGarbled(
                        self.name, self.url, method, f"answer is above {ANSWER_BYTES_MAX} bytes"
                    )
            return response.status, bytes(data)

    def _result(self, method: str, status: int, data: bytes) -> Any:
        """The one mapping of a node's answer into its result or our errors."""
        if status in (401, 403):
            raise NodeRefused(self.name, self.url, method, self._user, status)
        if status == 503:
            said = data[:FOREIGN_TEXT_MAX].decode(errors="replace").strip()
            raise NodeBusy(self.name, self.url, method, f"is busy ({said}); raise its rpcworkqueue")
        try:
            reply = json.loads(data, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise NodeGarbled(
                self.name,
                self.url,
                method,
                f"answer of {len(data)} bytes with HTTP status {status} is not JSON; "
                "is this the RPC port of a coin node?",
            ) from error
        if not isinstance(reply, dict) or not ("result" in reply or "error" in reply):
            raise NodeGarbled(self.name, self.url, method, "answer is not a JSON-RPC reply")
        if reply.get("error") is not None:
            raise self._fault(method, reply["error"])
        return reply.get("result")

    def _fault(self, method: str, error: object) -> NodeError:
        if not isinstance(error, dict) or not isinstance(error.get("code"), int):
            return NodeGarbled(self.name, self.url, method, "error without a code")
        code, message = error["code"], str(error.get("message", ""))
        said = message[:FOREIGN_TEXT_MAX]
        if code in (IN_INITIAL_DOWNLOAD, IN_WARMUP):
            return NodeSyncing(self.name, self.url, method, said)
        if code == NOT_CONNECTED:
            return NodeNotConnected(self.name, self.url, method, said)
        return RpcFault(self.name, self.url, method, code, message)


def _reason(error: Exception) -> str:
    """Why no connection was made: the system's own words where there are some.

    The client library wraps them into its view of the address, which our message names anyway.
    """
    said = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        # A name that was not found has an error number of its own, below zero, and words for it.
        said = os.strerror(error.errno) if error.errno > 0 else error.strerror or said
    return said[:FOREIGN_TEXT_MAX] or type(error).__name__
