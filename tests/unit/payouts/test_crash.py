"""OneSpend: killed at any border of any step, a payout is on the chain at most once.

For each scenario the engine is run once to count its borders (before and after
every call to rows, book, accounts and wallet). Then, for each of them after which
something that outlives the process has changed, a new world is made, the engine is
killed there, started again, and must converge: everybody paid exactly once, the
ledger sound and equal to the chain. The other borders leave the same world behind.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pithead.payouts.states import State
from tests.unit.payouts.scripted import payee_script
from tests.unit.payouts.world import COIN, Killed, Killer, World, world

pytestmark = pytest.mark.databases

Scenario = Callable[[World], Awaitable[None]]


async def three_payees(w: World) -> None:
    await w.credit({1: 5_000_001, 2: 70_003, 3: 12_345}, coins=2)


async def a_payee_that_the_wallet_refuses(w: World) -> None:
    await w.credit({1: 50_000, 2: 60_000})
    w.wallet.refused.add(payee_script(2))


async def a_lost_input(w: World) -> None:
    w.depth = 4
    await w.credit({1: 500_000}, coins=4, fee=500_000)
    w.wallet.after_build = w.spend_behind_the_back


async def a_lost_only_input(w: World) -> None:
    await w.credit({1: 50_000})
    await w.credit({}, fee=400_000)
    w.wallet.after_build = w.spend_behind_the_back


async def two_payouts(w: World) -> None:
    w.payments_max = 1
    await w.credit({1: 50_000, 2: 60_000}, coins=3)


SCENARIOS: list[Scenario] = [
    three_payees,
    a_payee_that_the_wallet_refuses,
    a_lost_input,
    a_lost_only_input,
    two_payouts,
]


READERS = frozenset(
    {
        "Rows.wallet",
        "Rows.open",
        "Rows.last_number",
        "Rows.last_paid",
        "Rows.known",
        "Rows.isolations",
        "Rows.adoptions",
        "Rows.attempt_owner",
        "LocalBook.balances",
        "LocalBook.has",
        "LocalAccounts.accounts",
        "ScriptedWallet.ensure",
        "ScriptedWallet.spendable",
        "ScriptedWallet.transaction",
        "ScriptedWallet.outgoing_since",
    }
)
"""Calls that leave the outside as it was: a kill around them equals the one before."""


def borders(names: list[str]) -> list[int]:
    """The first border, and each that follows a change of anything that outlives the process."""
    chosen = [0]
    repeats: Counter[str] = Counter()
    for number, name in enumerate(names):
        when, _, call = name.partition(" ")
        if when == "after" and call not in READERS:
            repeats[call] += 1
            # The wallet's cursor follows every block; the third time teaches nothing.
            if call != "Rows.keep_cursor" or repeats[call] <= 3:
                chosen.append(number)
    return chosen


async def converge(w: World, killer: Killer, scenario: Scenario) -> None:
    """Run to the end, starting anew after each kill; check everything."""
    engine = w.engine(killer)
    for _ in range(60):
        try:
            outcome = await w.tick(engine)
        except Killed:
            await w.check_nobody_is_paid_twice()
            engine = w.engine(killer)
            continue
        await w.check_nobody_is_paid_twice()
        if outcome.text == "nobody is due":
            break
    else:
        raise AssertionError(f"did not converge: {outcome}")
    refused = {2} if scenario is a_payee_that_the_wallet_refuses else set()
    await w.check_all_paid(set(w.credited) - refused)
    await w.check_books()
    for payout in await w.rows.recent(COIN, 100):
        assert payout.state in {State.BURIED, State.RELEASED}
        assert payout.booked
        on_chain = [a for a in payout.attempts if a.txid in w.chain.confirmed]
        assert len(on_chain) == (payout.state is State.BURIED)


async def kill_at_every_border(tmp_path: Path, scenario: Scenario) -> None:
    """Count the borders of a scenario, then take it once for each with a kill there."""
    counter = Killer()
    async with world(tmp_path / "count") as w:
        await scenario(w)
        await converge(w, counter, scenario)
    names = counter.names
    for number in borders(names):
        killer = Killer(number)
        async with world(tmp_path / f"{number}") as w:
            await scenario(w)
            try:
                await converge(w, killer, scenario)
            except AssertionError as error:
                raise AssertionError(f"killed {names[number]} (border {number})") from error
            assert killer.at is None


@pytest.mark.gate
@pytest.mark.parametrize(
    "scenario",
    [a_payee_that_the_wallet_refuses],
    ids=lambda scenario: scenario.__name__,
)
async def test_killed_at_any_border_it_converges_and_nobody_is_paid_twice(
    tmp_path: Path, scenario: Scenario
) -> None:
    await kill_at_every_border(tmp_path, scenario)


@pytest.mark.parametrize("seed", range(10))
async def test_killed_many_times_it_converges_and_nobody_is_paid_twice(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    scenario = chance.choice(SCENARIOS)
    killer = Killer()
    async with world(tmp_path / "w") as w:
        await scenario(w)
        engine = w.engine(killer)
        for _ in range(40):
            killer.at = killer.count + chance.randrange(60)
            try:
                await engine.run()
            except Killed:
                engine = w.engine(killer)
            if chance.random() < 0.3:
                w.chain.mine()
            if chance.random() < 0.1 and len(w.chain.blocks) > 8:
                w.chain.reorganise(1)
            w.now_ms += 10_000
            await w.check_nobody_is_paid_twice()
        killer.at = None
        await converge(w, killer, scenario)
