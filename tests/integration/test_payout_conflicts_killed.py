"""OneSpend: the long scenarios of the crash-point test.

In most of them another spend of the wallet takes a coin of a payout that is signed and not yet
sent; the engine is killed at every border of what follows.
"""

from pathlib import Path

import pytest

from tests.unit.payouts.test_crash import (
    Scenario,
    a_lost_input,
    a_lost_only_input,
    kill_at_every_border,
    three_payees,
    two_payouts,
)

pytestmark = pytest.mark.gate


@pytest.mark.parametrize(
    "scenario",
    [three_payees, a_lost_input, a_lost_only_input, two_payouts],
    ids=lambda scenario: scenario.__name__,
)
async def test_killed_at_any_border_it_converges_and_nobody_is_paid_twice(
    tmp_path: Path, scenario: Scenario
) -> None:
    await kill_at_every_border(tmp_path, scenario)
