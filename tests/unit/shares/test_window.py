"""The cut against its definition on single units of weight, and its hash."""

from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.shares.window import AccountWeight, Cut, GroupKey, cut, late_group, window_hash

pytestmark = pytest.mark.gate

KEYS = st.builds(
    GroupKey,
    height=st.integers(1, 3),
    in_time=st.just(True),
    parent=st.sampled_from([b"\x00" * 32, b"\x01" + b"\x00" * 31, b"\xff" * 32]),
    minute=st.integers(0, 3),
) | st.builds(late_group, st.integers(1, 3))


@given(st.dictionaries(KEYS, st.integers(1, 9)), st.integers(1, 120))
def test_a_cut_takes_the_newest_units_of_weight(groups: dict[GroupKey, int], weight: int) -> None:
    newest_first = sorted(groups.items(), reverse=True)
    units = [key for key, group_weight in newest_first for _ in range(group_weight)][:weight]
    taken = cut(newest_first, weight)
    if not units:
        assert taken == Cut(0, None, None, 0, 0, filled=False)
        return
    assert taken.newest == units[0]
    assert taken.oldest == units[-1]
    assert taken.groups == len(set(units))
    assert taken.group_weight == groups[units[-1]]
    assert taken.needed == units.count(units[-1])
    assert taken.filled == (len(units) == weight)


def test_wide_weights_are_cut_exactly() -> None:
    groups = [(GroupKey(height, True, b"\x00" * 32, 0), 10**40) for height in (3, 2, 1)]
    taken = cut(groups, 2 * 10**40 + 1)
    assert (taken.groups, taken.needed, taken.filled) == (3, 1, True)


def test_a_cut_reads_no_group_beyond_its_weight() -> None:
    def groups() -> Iterator[tuple[GroupKey, int]]:
        yield GroupKey(2, True, b"\x00" * 32, 0), 5
        raise AssertionError("read too far")

    assert cut(groups(), 5).groups == 1


def test_late_shares_are_the_first_group_of_their_height() -> None:
    in_time = GroupKey(5, True, b"\x00" * 32, 0)
    assert GroupKey(4, True, b"\xff" * 32, 99) < late_group(5) < in_time


@pytest.mark.parametrize(
    ("groups", "weight"),
    [
        ([(late_group(1), 1), (late_group(2), 1)], 5),
        ([(late_group(1), 1), (late_group(1), 1)], 5),
        ([(late_group(1), 0)], 5),
        ([(late_group(1), 1)], 0),
    ],
    ids=["ascending", "twice", "no-weight", "no-window"],
)
def test_groups_that_break_the_order_are_refused(
    groups: list[tuple[GroupKey, int]], weight: int
) -> None:
    with pytest.raises(ValueError, match=r"after|weighs|at least 1"):
        cut(groups, weight)


def hash_of(**changes: object) -> bytes:
    facts: dict[str, object] = {
        "pool": "default.p",
        "scheme": "s",
        "height": 9,
        "parent": b"\x01" * 32,
        "weight": 7,
        "taken": Cut(1, late_group(9), late_group(9), 8, 7, filled=True),
        "accounts": [AccountWeight(1, 0, 5), AccountWeight(2, 0, 3)],
    }
    return window_hash(**(facts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"pool": "default.q"},
        {"scheme": "t"},
        {"height": 10},
        {"parent": b"\x02" * 32},
        {"weight": 8},
        {"taken": Cut(1, late_group(9), late_group(9), 8, 8, filled=True)},
        {"accounts": [AccountWeight(1, 0, 4), AccountWeight(2, 0, 4)]},
        {"accounts": [AccountWeight(1, 5, 0), AccountWeight(2, 0, 3)]},
    ],
    ids=["pool", "scheme", "height", "parent", "weight", "cut", "weights", "groups"],
)
def test_windows_that_differ_have_different_hashes(change: dict[str, object]) -> None:
    assert hash_of(**change) != hash_of()


def test_the_hash_is_the_same_on_every_machine() -> None:
    """A split stores it for ever, so its text may never change; see HASH_FORMAT."""
    accounts = [AccountWeight(2, 0, 3), AccountWeight(1, 0, 5)]
    assert hash_of(accounts=accounts) == hash_of()
    text = (
        "pithead window 1\n"
        "pool\tdefault.p\n"
        "scheme\ts\n"
        f"end\t9\t{'01' * 32}\n"
        "weight\t7\n"
        "groups\t1\tfilled\t1\n"
        "newest\t9/late\n"
        "oldest\t9/late\n"
        "group\t8\tneeded\t7\n"
        "account\t1\t0\t5\n"
        "account\t2\t0\t3\n"
    )
    assert hash_of() == sha256(text.encode()).digest()
