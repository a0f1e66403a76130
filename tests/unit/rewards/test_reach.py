"""How far windows reach, as the share processor is told."""

from pathlib import Path

import pytest

from pithead.coins.weight import bits_to_target, expected_hashes
from pithead.rewards.nodes import Nodes
from pithead.rewards.reach import MARGIN, Reach, ReachedPool, largest_windows
from pithead.rewards.registry import Revision
from tests.unit.rewards.support import (
    BITS,
    PARAMS,
    POOL,
    ScriptedChain,
    ScriptedShares,
    apply_pplns,
    rewards_database,
    serving_shares,
)

pytestmark = pytest.mark.gate

FACTOR = '{"fee_ppm":0,"method":"PPLNS","window":{"factor_ppm":2000000}}'
SMALL = '{"fee_ppm":0,"method":"PPLNS","window":{"weight":"5"}}'


def revision(scheme: str, height: int, parameters: str) -> Revision:
    return Revision(0, scheme, "r", height, "PPLNS", parameters)


def test_the_largest_revision_of_a_scheme_counts_with_a_margin() -> None:
    table = [revision("a", 0, FACTOR), revision("a", 9, SMALL), revision("b", 0, SMALL)]
    hashes = expected_hashes(bits_to_target(BITS))
    assert largest_windows(table, BITS, 1) == {"a": MARGIN * hashes, "b": MARGIN * 5}


async def test_every_pool_is_told(tmp_path: Path) -> None:
    chain, shares = ScriptedChain(), ScriptedShares()
    chain.mine_ours()
    async with (
        rewards_database(tmp_path) as database,
        serving_shares(tmp_path, shares) as accounting,
    ):
        await apply_pplns(database)
        pools = [ReachedPool(POOL, Nodes(PARAMS, [chain]))]
        await Reach(database, pools, accounting).step()
    ((told),) = shares.reaches
    assert [(one.scheme, one.weight) for one in told.schemes] == [("pplns", "400")]
