"""Dividing partitions: however consumers come and go, all is read and the parts are even."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.shares.division import Claim, divide, part

pytestmark = pytest.mark.gate

LEASE = 10
NAMES = st.sampled_from(["a", "b", "c", "d"])


class Table:
    """The rows that consumers share, and a clock."""

    def __init__(self) -> None:
        self.now = 0
        self.alive: dict[str, int] = {}
        self.claims: dict[str, Claim] = {}

    def step(self, me: str, partitions: set[str]) -> frozenset[str]:
        self.alive[me] = self.now + LEASE
        alive = [name for name, until in self.alive.items() if until > self.now]
        plan = divide(me, alive, partitions, self.claims, self.now)
        assert len(plan.keep | plan.take | plan.drop) == sum(
            map(len, (plan.keep, plan.take, plan.drop))
        )
        for name in plan.drop:
            assert self.claims.pop(name).owner == me
        for name in plan.mine:
            before = self.claims.get(name)
            assert before is None or before.owner == me or before.until_ms <= self.now
            self.claims[name] = Claim(me, self.now + LEASE)
        return plan.mine


@given(
    st.lists(st.tuples(NAMES, st.integers(0, 12), st.integers(0, 6)), max_size=25),
    st.sets(NAMES, min_size=1),
    st.integers(0, 12),
)
def test_after_any_history_those_who_stay_divide_everything_evenly(
    history: list[tuple[str, int, int]], staying: set[str], count: int
) -> None:
    table = Table()
    for name, there, waited in history:
        table.now += waited
        table.step(name, {str(number) for number in range(there)})
    table.now += LEASE
    partitions = {str(number) for number in range(count)}
    parts: list[frozenset[str]] = []
    for _ in range(3):
        parts = [table.step(name, partitions) for name in sorted(staying)]
    assert sorted(each for one in parts for each in one) == sorted(partitions)
    sizes = sorted(len(each) for each in parts)
    assert sizes[-1] - sizes[0] <= 1


@given(st.sets(NAMES, min_size=1), st.integers(0, 20))
def test_parts_add_up_to_the_whole(alive: set[str], partitions: int) -> None:
    parts = [part(name, alive, partitions) for name in sorted(alive)]
    assert sum(parts) == partitions
    assert all(0 <= first - second <= 1 for first, second in pairwise(parts))


def test_a_claim_of_another_is_left_until_its_time_is_over() -> None:
    claims = {"0": Claim("other", 10)}
    assert divide("me", ["me"], {"0"}, claims, 9).mine == frozenset()
    assert divide("me", ["me"], {"0"}, claims, 10).mine == {"0"}


def test_an_own_claim_that_ran_out_is_kept_when_nobody_took_it() -> None:
    plan = divide("me", ["me"], {"0"}, {"0": Claim("me", 1)}, 99)
    assert plan.keep == {"0"}
    assert not plan.take
