"""Work in a thread that its caller never leaves behind."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

WorkT = TypeVar("WorkT")
Arguments = ParamSpec("Arguments")


async def to_its_end(
    work: Callable[Arguments, WorkT], *arguments: Arguments.args, **named: Arguments.kwargs
) -> WorkT:
    """Run `work` in a thread; when cancelled, still wait for it.

    A thread cannot be stopped, and whoever cancelled would go on to close, or give
    to others, what it works on.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # Looked at, as its caller is gone.
        raise
