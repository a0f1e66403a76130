"""The slot table."""

import pytest

from pithead.shares.slots import SlotRevision, SlotTable, SlotUnknown

pytestmark = pytest.mark.gate

TABLE = SlotTable(
    [
        SlotRevision(2, 0, "pplns", "bb", 20),
        SlotRevision(1, 0, "pplns", "aa", 10),
        SlotRevision(3, 1, "solo", "cc", 1),
    ]
)


@pytest.mark.parametrize(
    ("slot", "height", "expected"),
    [(0, 10, 1), (0, 19, 1), (0, 20, 2), (0, 9999, 2), (0, 3, 1), (1, 1, 3)],
    ids=["first", "before-change", "change", "after", "below-first", "other-slot"],
)
def test_a_height_counts_by_the_newest_revision_in_effect(
    slot: int, height: int, expected: int
) -> None:
    assert TABLE.revision_at(slot, height) == expected


def test_an_unknown_slot_names_itself_and_the_remedy() -> None:
    assert not TABLE.knows(7)
    with pytest.raises(SlotUnknown, match=r"slot 7 is unknown: give it in the settings"):
        TABLE.revision_at(7, 10)
