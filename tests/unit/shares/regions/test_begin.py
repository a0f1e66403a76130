import pytest

from pithead.shares.regions.begin import EXCHANGE, GONE, REPLAY, Begin, Found, Kept, begin

pytestmark = pytest.mark.gate

KEPT = Kept("far", 50, 70, "hub", 1000)


@pytest.mark.parametrize(
    ("kept", "found", "expected"),
    [
        pytest.param(None, Found("far", 0, 9), (0, True, ""), id="new"),
        pytest.param(None, Found("far", 4, 9), (4, True, GONE), id="new-but-cut-before"),
        pytest.param(KEPT, Found("far", 10, 90), (50, False, ""), id="goes-on"),
        pytest.param(KEPT, Found("far", 50, 50), (50, False, ""), id="nothing-left"),
        pytest.param(KEPT, Found("far", 51, 90), (51, False, GONE), id="cut-past-what-was-relayed"),
        pytest.param(KEPT, Found("far", 10, 49), (10, True, REPLAY), id="older-copy"),
        pytest.param(KEPT, Found("far", 10, 90, "odd"), (10, True, REPLAY), id="unreadable"),
        pytest.param(
            KEPT, Found("new", 0, 90), (0, True, EXCHANGE), id="another-log-of-the-region"
        ),
    ],
)
def test_reading_begins_where_it_ended_or_at_the_earliest_never_at_the_newest(
    kept: Kept | None, found: Found, expected: tuple[int, bool, str]
) -> None:
    how = begin(kept, found, "hub")
    assert (how.position, how.anew, how.action) == expected
    assert bool(how.reason) == bool(how.action)


@pytest.mark.parametrize(
    ("found", "hub_position"),
    [
        pytest.param(Found("far", 10, 90), 1000, id="goes-on"),
        pytest.param(Found("far", 51, 90), 1000, id="cut-past-what-was-relayed"),
        pytest.param(Found("new", 0, 90), 0, id="another-log-of-the-region"),
    ],
)
def test_a_new_connection_knows_how_far_accounting_must_read_before_a_release(
    found: Found, hub_position: int
) -> None:
    assert begin(KEPT, found, "hub").hub_position == hub_position


def test_another_log_of_the_hub_gets_everything_again() -> None:
    assert begin(KEPT, Found("far", 10, 90), "other") == Begin(10, True)


def test_what_an_exchanged_log_took_with_it_is_told() -> None:
    assert "up to 50; 20 positions behind" in begin(KEPT, Found("new", 0, 9), "hub").reason
