"""Processes and servers are killed, paused and restarted at random under load; nothing is lost.

Miners submit at more than 2,000 shares a second. Each member of the world (edges, brokers,
accounting, PostgreSQL) has a lane of faults, so that they overlap. Afterwards every login has at
least the shares that it heard `true` for and at most those that it sent without hearing better,
each once, and the cells are what the log says. The seed is printed; PITHEAD_CAMPAIGN_SEED repeats
one.
"""

import asyncio
import os
import secrets
import time
from collections import Counter

import pytest

from pithead.shares.seals import BURIED
from tests.support.campaign.faults import Account, inflict
from tests.support.campaign.load import Heard, mine
from tests.support.campaign.verdict import (
    close_silent,
    compare,
    read_log,
    recounted,
    wait_for_credit,
)
from tests.support.campaign.world import PARAMS, World, world

RATE = 3200.0
"""Shares a second that are aimed at; outages of the whole log take their part."""
RATE_MIN = 2000.0


@pytest.mark.needs("kafka", "postgres")
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(300, marks=[pytest.mark.full, pytest.mark.timeout(900)], id="300"),
        pytest.param(5000, marks=[pytest.mark.proof, pytest.mark.timeout(3 * 3600)], id="5000"),
    ],
)
async def test_what_was_answered_true_is_credited_once_through_all_faults(faults: int) -> None:
    seed = os.environ.get("PITHEAD_CAMPAIGN_SEED") or secrets.token_hex(4)
    faults = int(os.environ.get("PITHEAD_CAMPAIGN_FAULTS") or faults)
    print(f"repeat with PITHEAD_CAMPAIGN_SEED={seed}")
    heard, account = Heard(), Account(faults)
    async with world(RATE) as it:
        try:
            rate = await campaign(it, heard, account, seed)
            await judge(it, heard)
        except BaseException:
            print(it.tails())
            raise
    assert rate >= RATE_MIN


async def campaign(it: World, heard: Heard, account: Account, seed: str) -> float:
    """Load and faults, then an end in order; the shares answered `true` a second."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for region in it.regions:
            for number in region.accounts:
                group.create_task(mine(PARAMS, region, number, heard, stop))
        await asyncio.sleep(2.0)
        began, before = time.monotonic(), heard.true.total()
        async with asyncio.TaskGroup() as observed:
            observer = observed.create_task(observe(heard, account))
            await inflict(it.lanes, account, seed)
            observer.cancel()
        took = time.monotonic() - began
        rate = (heard.true.total() - before) / took
        for member in it.members:
            await member.until_ready()
        await asyncio.sleep(2.0)
        stop.set()
    for kind, count in sorted(account.done.items()):
        print(f"{count:5} x {' '.join(kind)}")
    print(
        f"{account.done.total()} faults in {took:.0f} s, {heard.true.total()} shares answered true "
        f"({rate:.0f} a second), {heard.unknown.total()} unknown, refused {dict(heard.refused)}, "
        f"{heard.logins} logins"
    )
    for member in it.edges:
        assert await member.end() == 0, member.tail()
    surprises = [text for member in it.members for text in member.surprises]
    assert not surprises, "\n".join(surprises)
    return rate


async def observe(heard: Heard, account: Account) -> None:
    """Tell now and then how it goes."""
    while True:
        await asyncio.sleep(15)
        print(f"{account.left} faults left, {heard.true.total()} true", flush=True)


async def judge(it: World, heard: Heard) -> None:
    """Compare miners, log and cells."""
    logged = await read_log(it)
    problems = compare(heard, logged)
    assert not problems, problems[:20]
    wanted: Counter[int] = Counter()
    for (number, _), count in logged.shares.items():
        wanted[number] += count
    closed = await close_silent(it)
    tip = (await it.node.chain_info()).blocks
    credited = await wait_for_credit(it, wanted, tip - BURIED)
    print(
        f"{logged.batches} batches of {logged.producers} producers, {logged.copies} copies; "
        f"{closed} closed by hand; sealed up to height {credited.sealed_height}, "
        f"{credited.late} late shares"
    )
    assert credited.shares == dict(wanted)
    assert credited.missing == 0
    assert credited.open_producers == 0
    assert credited.sealed_height >= tip - BURIED
    assert await recounted(it) == []
