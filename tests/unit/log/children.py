"""Programs that tests of the log start as processes of their own.

`hold ROOT`: open the writer, say "open", keep it until killed.
`write ROOT FIRST`: append numbered records for ever, a few at once, and report
each answered number as 8 bytes on standard output.
`fill ROOT LIMIT`: append under a limit on file sizes until the log is full,
then go on without it; prints the numbers that were answered.
"""

import asyncio
import os
import random
import resource
import sys
from pathlib import Path

from pithead.log.errors import LogFull
from pithead.log.file_log import FileLog

TOPIC = "shares.p"
PARTITION = "eu-0"
CHUNK_BYTES = 40_000


def payload_of(number: int) -> bytes:
    """Return the record of a number; its length and bytes follow from it."""
    return number.to_bytes(8, "big") + random.Random(number).randbytes(number * 7919 % 900)


async def hold(root: Path) -> None:
    await FileLog(root).writer(TOPIC, PARTITION)
    os.write(1, b"open\n")
    await asyncio.Event().wait()


async def write(root: Path, first: int) -> None:
    writer = await FileLog(root, chunk_bytes=CHUNK_BYTES).writer(TOPIC, PARTITION)
    numbers = iter(range(first, sys.maxsize))

    async def append() -> None:
        for number in numbers:
            await writer.append(payload_of(number))
            os.write(1, number.to_bytes(8, "big"))

    await asyncio.gather(*(append() for _ in range(8)))


async def fill(root: Path, limit: int) -> None:
    writer = await FileLog(root).writer(TOPIC, PARTITION)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    answered = []
    number = 0
    while True:
        group = range(number, number + 3)
        number += 3
        results = await asyncio.gather(
            *(writer.append(payload_of(member)) for member in group), return_exceptions=True
        )
        answered += [m for m, result in zip(group, results, strict=True) if type(result) is int]
        errors = [result for result in results if type(result) is not int]
        if errors:
            assert all(type(error) is LogFull for error in errors), errors
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await writer.append(payload_of(number))
    await writer.close()
    sys.stdout.write(" ".join(map(str, [*answered, number])))


if __name__ == "__main__":
    command, root, *rest = sys.argv[1:]
    number = int(rest[0]) if rest else 0
    if command == "hold":
        asyncio.run(hold(Path(root)))
    elif command == "write":
        asyncio.run(write(Path(root), number))
    else:
        asyncio.run(fill(Path(root), number))
