"""The job book: serials, staleness, promise and freshness, on virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.weight import bits_to_target, difficulty_of_weight
from pithead.stratum import jobs
from pithead.stratum.jobs import (
    STALE_OLD,
    STALE_PARENT,
    STALE_PROMISE,
    STALE_SUCCESSOR,
    STALE_UNCONFIRMED,
    weight_cap,
)
from tests.unit.stratum.support import DEVCHAIN, EASY_BITS, LITECOIN, book, parent_of, template

pytestmark = pytest.mark.gate


def test_serials_are_unique_over_all_works_and_variants() -> None:
    works = book()
    entries = [works.add(template(101), 0), works.add(template(102), 0)]
    serials = []
    for index in (0, 2, 1):
        for entry in entries:
            variant = works.variant(entry, index)
            assert variant is not None
            serials.append(variant.job.serial)
    assert len(set(serials)) == 6
    assert works.serials == 6


def test_all_connections_share_the_bytes_of_a_variant() -> None:
    works = book()
    entry = works.add(template(), 0)
    first, again = works.variant(entry, 0), works.variant(entry, 0)
    assert first is not None
    assert first is again
    assert first.notify(clean=True) is first.notify(clean=True)
    assert first.notify(clean=False) is first.notify(clean=False)


def test_retargets_on_one_work_are_limited() -> None:
    works = book()
    entry = works.add(template(), 0)
    assert works.variant(entry, jobs.VARIANTS_MAX - 1) is not None
    assert works.variant(entry, jobs.VARIANTS_MAX) is None


def test_a_new_parent_makes_all_older_jobs_stale_at_once() -> None:
    works = book()
    old = [works.add(template(101, time=1_800_000_000 + n), 0) for n in range(3)]
    assert [works.why_stale(entry, 0) for entry in old] == [None] * 3
    new = works.add(template(102), 0)
    assert [works.why_stale(entry, 0) for entry in old] == [STALE_PARENT] * 3
    assert works.why_stale(new, 0) is None


def test_jobs_on_one_parent_stay_valid_up_to_a_limit() -> None:
    works = book()
    entries = [works.add(template(), 0) for _ in range(jobs.WORKS_MAX + 1)]
    assert works.why_stale(entries[0], 0) == STALE_OLD
    assert all(works.why_stale(entry, 0) is None for entry in entries[1:])


def test_stale_works_stay_for_late_solves_and_are_retired_in_the_end() -> None:
    works = book()
    entries = [works.add(template(100 + n), 0) for n in range(jobs.STALE_WORKS_MAX + 2)]
    assert entries[0].retired
    assert not any(entry.retired for entry in entries[1:])


def test_promise_leaves_one_height_for_a_node_that_goes_back_a_block() -> None:
    works = book()
    works.add(template(105), 0)
    assert works.promise == 104
    back = works.add(template(104, parent=b"\x09" * 32), 0)
    assert works.promise == 104
    assert works.why_stale(back, 0) is None
    further = works.add(template(103, parent=b"\x08" * 32), 0)
    assert works.why_stale(further, 0) == STALE_PROMISE


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_promise_never_falls(heights: list[int]) -> None:
    works = book()
    before = 0
    for height in heights:
        works.add(template(height), 0)
        assert works.promise >= before
        assert works.promise >= height - 1
        before = works.promise


class TestFreshWork:
    def test_an_announced_successor_ends_credit_after_five_seconds(self) -> None:
        works = book()
        entry = works.add(template(), 0)
        works.announce("a", 1_000)
        assert works.why_stale(entry, 6_000) is None
        assert works.why_stale(entry, 6_001) == STALE_SUCCESSOR
        assert not works.fresh(6_001)

    def test_a_lagging_node_can_not_take_back_what_another_announced(self) -> None:
        works = book()
        entry = works.add(template(), 0)
        works.announce("a", 1_000)
        works.confirm("b", parent_of(100), 5_000)
        works.announce("a", 5_000)
        assert works.why_stale(entry, 6_001) == STALE_SUCCESSOR

    def test_a_node_can_take_back_its_own_announcement(self) -> None:
        works = book()
        entry = works.add(template(), 0)
        works.announce("a", 1_000)
        works.confirm("a", parent_of(100), 2_000)
        assert works.why_stale(entry, 10_000) is None

    def test_work_that_no_node_confirms_is_stale_after_a_minute(self) -> None:
        works = book()
        entry = works.add(template(), 1_000)
        assert works.why_stale(entry, 61_000) is None
        assert works.why_stale(entry, 61_001) == STALE_UNCONFIRMED
        works.confirm("a", b"\x01" * 32, 61_001)
        assert works.why_stale(entry, 61_001) == STALE_UNCONFIRMED, "another parent"
        works.confirm("a", parent_of(100), 61_001)
        assert works.why_stale(entry, 61_001) is None

    def test_new_work_clears_old_announcements(self) -> None:
        works = book()
        works.add(template(101), 0)
        works.announce("a", 0)
        new = works.add(template(102), 10_000)
        assert works.why_stale(new, 10_000) is None

    def test_work_of_a_lagging_standby_is_stale_when_the_node_ahead_has_died(self) -> None:
        works = book()
        works.add(template(102), 0)
        works.confirm("main", parent_of(101), 0)
        # The main dies, and the standby still has the block before as its tip.
        behind = works.add(template(101), 10_000)
        works.confirm("standby", parent_of(100), 10_100)
        assert works.why_stale(behind, 10_100) == STALE_SUCCESSOR
        # The main is back without that block: it takes back what it announced.
        works.confirm("main", parent_of(100), 11_000)
        assert works.why_stale(behind, 11_000) is None
        ahead = works.add(template(102), 12_000)
        assert works.why_stale(ahead, 12_000) is None


def test_a_full_memory_of_shares_makes_room_by_ending_old_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "ACCEPTED_MAX", 3)
    works = book()
    entry = works.add(template(), 0)
    variant = works.variant(entry, 0)
    assert variant is not None
    for number in range(3):
        assert not works.crowded()
        assert works.accept(variant, bytes([number]))
    assert not works.accept(variant, b"\x00"), "credited before"
    assert works.crowded()
    fresh = works.make_room(0)
    assert fresh is not None
    assert fresh is works.current
    assert works.why_stale(entry, 0) == STALE_OLD
    assert works.why_stale(fresh, 0) is None
    assert not works.crowded()


@pytest.mark.parametrize("params", [DEVCHAIN, LITECOIN], ids=lambda params: params.coin)
@given(bits=st.one_of(st.just(EASY_BITS), st.integers(0x1A000001, 0x1F7FFFFF)))
def test_no_weight_is_shown_as_harder_than_the_network(params, bits) -> None:  # type: ignore[no-untyped-def]
    if bits & 0x800000 or not bits & 0x7FFFFF:
        return
    target = bits_to_target(bits)
    weight = weight_cap(target, params)
    # Eight units in the last place of a double are what coins adds to fractions.
    network = params.diff1_target / target
    assert difficulty_of_weight(weight, params) <= max(network * (1 + 2**-49), 1 / (1 << 40))
