"""`pithead mine`: a fleet as a process, with a line of figures now and then."""

import asyncio
import logging
from collections.abc import Sequence

from pithead.miner.endpoint import BadUrl
from pithead.miner.fleet import Fleet
from pithead.miner.record import Tally
from pithead.miner.worker import WorkerSpec
from pithead.process import EXIT_UNUSABLE, die_with_parent, run_until_signalled
from pithead.telemetry import configure_logging

REPORT_INTERVAL_S = 10.0

logger = logging.getLogger(__name__)


def run_mine(
    url: str,
    users: Sequence[str],
    password: str,
    hashrates: Sequence[float],
    algorithm: str,
    *,
    supervisor: int | None,
) -> int:
    """Mine with one worker a login until a signal; return the exit code.

    `hashrates` holds one bound for all workers or one for each.
    """
    if supervisor is not None:
        die_with_parent(supervisor)
    configure_logging("mine")
    rates = hashrates if len(hashrates) == len(users) else [hashrates[0]] * len(users)
    specs = [WorkerSpec(user, password, rate) for user, rate in zip(users, rates, strict=True)]
    try:
        fleet = Fleet(url, specs, algorithm=algorithm)
    except BadUrl as error:
        logger.error("%s", error)
        return EXIT_UNUSABLE
    run_until_signalled(lambda stop: mine(fleet, stop))
    logger.info("%s", summary(fleet.tally))
    return 0


async def mine(fleet: Fleet, stop: asyncio.Event, interval_s: float = REPORT_INTERVAL_S) -> None:
    """Run a fleet and log its figures every `interval_s`."""
    async with asyncio.TaskGroup() as tasks:
        reporting = tasks.create_task(_report(fleet, interval_s))
        await fleet.run(stop)
        reporting.cancel()


async def _report(fleet: Fleet, interval_s: float) -> None:
    shown = 0
    while True:
        await asyncio.sleep(interval_s)
        tally = fleet.tally
        if tally.submitted != shown:
            shown = tally.submitted
            logger.info("%s", summary(tally))


def summary(tally: Tally) -> str:
    """Return the figures of a fleet as one line."""
    rejected = ", ".join(
        f"{count} refused with {'no code' if code is None else f'code {code}'}"
        for code, count in sorted(tally.rejected.items(), key=lambda item: str(item[0]))
    )
    parts = [f"{tally.accepted} shares accepted", rejected]
    if tally.unanswered:
        parts.append(f"{tally.unanswered} without an answer")
    parts.append(f"{tally.hashes} hashes")
    return ", ".join(part for part in parts if part)
