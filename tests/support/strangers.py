"""Peers that are no miners: what may reach a stratum port, and how its edge has to take it.

Each stranger is a coroutine that talks to the port until its own assertions are
met; `STRANGERS` are all of them. None disturbs another, so they may run at once.
"""

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast

import pytest

from pithead.coins.registry import chain_params
from pithead.miner.demo import demo_address
from tests.support.stratum_client import StratumClient

PARAMS = chain_params("devchain", "regtest")
ADDRESS = demo_address(PARAMS, b"strangers", 0)[0]

LOGIN_TIMEOUT_S = 3
"""What the pool must give a connection until it has logged in."""
LIMIT_S = LOGIN_TIMEOUT_S + 4.0
"""By when a connection that never logs in is closed, with slack for a loaded machine."""

PARSE, INVALID_REQUEST, OTHER, UNAUTHORIZED = -32700, -32600, 20, 24

PING = b'{"id":1,"method":"mining.ping","params":[]}\n'
SUBSCRIBE = b'{"id":1,"method":"mining.subscribe","params":[]}\n'
CLIENT_HELLO = bytes.fromhex(
    "16030100c2010000be0303" + "5a" * 32 + "20" + "a5" * 32 + "00200a0a130113021303c02bc02f"
    "c02cc030cca9cca8c013c014009c009d002f0035000a0100"
)
"""The beginning of TLS, as a miner set to `stratum+ssl://` sends it to a plain port."""

HTTP_REQUEST = (
    b"GET /admin HTTP/1.1\r\nHost: pool.example\r\nUser-Agent: scanner/1.0\r\nAccept: */*\r\n\r\n"
)


@dataclass
class Reception:
    """What became of a stranger."""

    answers: list[dict[str, Any]]
    closed_s: float | None
    """Seconds until the edge closed, None when it did not within the limit."""

    @property
    def codes(self) -> list[int | None]:
        """Error code of each answer, None for a result."""
        return [error_of(answer) for answer in self.answers]


def error_of(answer: dict[str, Any]) -> int | None:
    """The code that an answer refuses with."""
    return answer["error"][0] if answer["error"] else None


async def receive(port: int, *chunks: bytes, limit_s: float) -> Reception:
    """Say `chunks` on a fresh connection, then listen until it is closed or the limit is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    loop = asyncio.get_running_loop()
    started = loop.time()
    answers: list[dict[str, Any]] = []
    closed_s: float | None = None
    try:
        async with asyncio.timeout(limit_s):
            try:
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0.02)
                while line := await reader.readline():
                    message = json.loads(line)
                    if "method" not in message:
                        answers.append(message)
            except ConnectionError:
                # Closed while more was on its way: the rest of the answers may be lost with it.
                pass
            closed_s = loop.time() - started
    except TimeoutError:
        pass
    finally:
        # What was never read or sent does not keep the socket.
        writer.transport.abort()
    return Reception(answers, closed_s)


def closed_for_garbage(reception: Reception) -> None:
    assert reception.closed_s is not None
    assert reception.closed_s < LOGIN_TIMEOUT_S, "closed by the clock, not for what it said"


async def random_bytes(port: int) -> None:
    for seed in range(8):
        noise = hashlib.shake_256(bytes([seed])).digest(100_000)
        closed_for_garbage(await receive(port, noise, limit_s=LIMIT_S))


async def endless_line(port: int) -> None:
    reception = await receive(port, b"a" * 8193, limit_s=LIMIT_S)
    closed_for_garbage(reception)
    assert reception.codes == [INVALID_REQUEST]
    assert "a line exceeds 8192 bytes" in reception.answers[0]["error"]
    flood = await receive(port, *[b'{"id":1,"method":"' + b"x" * 65536] * 16, limit_s=LIMIT_S)
    closed_for_garbage(flood)


async def half_a_request(port: int) -> None:
    reception = await receive(port, SUBSCRIBE[:30], limit_s=LIMIT_S)
    assert reception.answers == []
    assert reception.closed_s is not None
    assert reception.closed_s > LOGIN_TIMEOUT_S - 0.5


async def request_in_pieces(port: int) -> None:
    pieces = [SUBSCRIBE[index : index + 1] for index in range(len(SUBSCRIBE))]
    reception = await receive(port, *pieces, limit_s=LIMIT_S)
    assert reception.codes == [None]


async def http_request(port: int) -> None:
    reception = await receive(port, HTTP_REQUEST, limit_s=LIMIT_S)
    closed_for_garbage(reception)
    assert reception.codes == [PARSE, PARSE, PARSE, INVALID_REQUEST]


async def tls_hello(port: int) -> None:
    reception = await receive(port, CLIENT_HELLO, limit_s=LIMIT_S)
    assert reception.closed_s is not None
    context = ssl.create_default_context()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with asyncio.timeout(LIMIT_S):
            await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="pool")


async def deep_nesting(port: int) -> None:
    opened, closed = b"[" * 4000, b"]" * 4000
    for line in (
        opened,
        opened + closed,
        b'{"id":' + opened + closed + b',"method":"mining.ping","params":[]}',
        b'{"id":1,"method":"mining.submit","params":' + opened + closed + b"}",
        b'{"a":' * 1300 + b"1" + b"}" * 1300,
    ):
        reception = await receive(port, (line + b"\n") * 3, limit_s=LIMIT_S)
        closed_for_garbage(reception)
        assert set(reception.codes) <= {PARSE, INVALID_REQUEST}, line[:20]


async def huge_numbers(port: int) -> None:
    digits = b"9" * 4000
    reception = await receive(
        port,
        SUBSCRIBE,
        b'{"id":' + digits + b',"method":"mining.ping","params":[]}\n',
        b'{"id":1e999999,"method":"mining.suggest_difficulty","params":[1e999999]}\n',
        b'{"id":3,"method":"mining.suggest_difficulty","params":[' + digits + b"]}\n",
        b'{"id":4,"method":"mining.suggest_difficulty","params":[-1]}\n',
        b'{"id":5,"method":"mining.suggest_target","params":["' + digits + b'"]}\n',
        b'{"id":6,"method":"mining.suggest_difficulty","params":["1e400"]}\n',
        b'{"id":7,"method":"mining.configure","params":[["version-rolling"],'
        b'{"version-rolling.mask":"ffffffffffff","version-rolling.min-bit-count":'
        + digits
        + b"}]}\n",
        b'{"id":8,"method":"mining.authorize","params":["' + digits + b'"]}\n',
        limit_s=LIMIT_S,
    )
    # The mask that can not be read is told in the result of its extension.
    subscribed, huge_id, *rest = reception.codes
    assert subscribed is None
    # It is echoed as it came, or refused; both leave the connection in step.
    assert huge_id in (None, PARSE)
    assert rest == [PARSE, OTHER, OTHER, OTHER, OTHER, None, UNAUTHORIZED]


async def invalid_utf8(port: int) -> None:
    line = b'{"id":1,"method":"mining.subscribe","params":["\xff\xfe\xc0\x80"]}\n'
    reception = await receive(port, line * 3, limit_s=LIMIT_S)
    closed_for_garbage(reception)
    assert reception.codes == [PARSE, PARSE, PARSE, INVALID_REQUEST]


async def wrong_shapes(port: int) -> None:
    lines = [b"1", b'"text"', b"null", b"[]", b"{}", b'{"id":1}', b'{"id":1,"method":2}']
    for line in lines:
        reception = await receive(port, (line + b"\n") * 3, limit_s=LIMIT_S)
        closed_for_garbage(reception)
        assert reception.codes == [INVALID_REQUEST] * 4, line


async def silent_crowd(port: int) -> None:
    """Two hundred connections that say nothing are closed in time."""
    receptions = await asyncio.gather(*(receive(port, limit_s=LIMIT_S) for _ in range(200)))
    assert all(reception.closed_s is not None for reception in receptions)
    assert all(reception.answers == [] for reception in receptions)


async def subscribed_and_silent(port: int) -> None:
    reception = await receive(port, SUBSCRIBE, limit_s=LIMIT_S)
    assert reception.codes == [None]
    assert reception.closed_s is not None


async def never_reads(port: int) -> None:
    """Asks without end and reads no answer: is not listened to, and costs no memory."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = 0
    try:
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
        )
        cast("asyncio.ReadTransport", writer.transport).pause_reading()
        async with asyncio.timeout(LIMIT_S):
            while True:
                writer.write(PING * 1000)
                asked += 1000 * len(PING)
                await writer.drain()
    except (ConnectionError, TimeoutError):
        # Cut off when its time to log in was over, or held until our own limit.
        assert asked < 64 << 20
    finally:
        writer.transport.abort()


async def invalid_submits(port: int) -> None:
    """Each is closed for its conduct; their address has a good miner, so it is not banned."""
    for _ in range(4):
        async with StratumClient(PARAMS, port) as client:
            await client.login(f"{ADDRESS}.bad")
            good = client.solve(await client.job())
            index = 0
            with contextlib.suppress(ConnectionError):
                for index in range(600):
                    answer = await client.submit([*good[:2], f"{index:#018x}", *good[3:]])
                    assert answer["error"][0] == OTHER
            assert 190 < index < 210


STRANGERS: tuple[Callable[[int], Coroutine[Any, Any, None]], ...] = (
    random_bytes,
    endless_line,
    half_a_request,
    request_in_pieces,
    http_request,
    tls_hello,
    deep_nesting,
    huge_numbers,
    invalid_utf8,
    wrong_shapes,
    silent_crowd,
    subscribed_and_silent,
    never_reads,
    invalid_submits,
)
