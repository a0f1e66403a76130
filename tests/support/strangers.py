"""Peers that are no miners: whatever may reach a stratum port, and how its edge takes it."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

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
