"""Conditions: one setter, stamps kept."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from pithead.manifests.conditions import (
    MESSAGE_LENGTH_MAX,
    READY,
    STALLED,
    Condition,
    conditions_of,
    set_condition,
)

pytestmark = pytest.mark.gate

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def ready(
    before: tuple[Condition, ...], *, good: bool, now: datetime, generation: int = 1
) -> tuple[Condition, ...]:
    return set_condition(
        before,
        type=READY,
        status="True" if good else "False",
        reason="Serving" if good else "NodeAway",
        message="",
        now=now,
        generation=generation,
    )


def test_transition_time_is_kept_until_the_status_changes() -> None:
    first = ready((), good=True, now=NOON)
    second = ready(first, good=True, now=NOON + timedelta(hours=1), generation=2)
    third = ready(second, good=False, now=NOON + timedelta(hours=2))
    assert first[0].last_transition_time == "2026-01-31T12:00:00Z"
    assert second[0].last_transition_time == "2026-01-31T12:00:00Z"
    assert second[0].observed_generation == 2
    assert third[0].last_transition_time == "2026-01-31T14:00:00Z"


def test_time_is_written_in_utc() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=3)))
    assert ready((), good=True, now=east)[0].last_transition_time == "2026-01-31T12:00:00Z"


def test_other_conditions_stay_and_types_are_ordered() -> None:
    found = set_condition(
        ready((), good=True, now=NOON),
        type=STALLED,
        status="False",
        reason="Fine",
        message="x" * (MESSAGE_LENGTH_MAX + 1),
        now=NOON,
        generation=1,
    )
    assert [each.type for each in found] == [READY, STALLED]
    assert len(found[1].message) == MESSAGE_LENGTH_MAX


def test_reason_is_one_word_for_programs() -> None:
    with pytest.raises(ValidationError):
        set_condition(
            (), type=READY, status="True", reason="two words", message="", now=NOON, generation=0
        )


def test_conditions_of_an_object_are_read_and_foreign_ones_left_out() -> None:
    (known,) = ready((), good=True, now=NOON)
    written = [known.model_dump(by_alias=True), {"type": "Other", "newField": 1}, 5]
    assert conditions_of({"status": {"conditions": written}}) == (known,)
    assert conditions_of({"status": {}}) == conditions_of({}) == ()
