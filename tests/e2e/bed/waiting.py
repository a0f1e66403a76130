"""Waits that end: each has a limit, and a failure tells what the parts concerned last said."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class BedFailed(Exception):
    """The bed could not do what it was asked; the message holds the logs that matter."""


def until(
    what: str,
    check: Callable[[], T | None],
    *,
    limit_s: float,
    every_s: float = 0.1,
    diagnose: Callable[[], str] = str,
) -> T:
    """Call `check` until it returns something true, and return that.

    An OSError of `check` counts as "not yet". Raises BedFailed with what `diagnose` returns when
    `limit_s` have passed.
    """
    deadline = time.monotonic() + limit_s
    last: object = None
    while True:
        try:
            if answer := check():
                return answer
            last = answer
        except OSError as error:
            last = error
        if time.monotonic() >= deadline:
            raise BedFailed(f"{what}: not within {limit_s:g} s (last: {last!r})\n{diagnose()}")
        time.sleep(every_s)
