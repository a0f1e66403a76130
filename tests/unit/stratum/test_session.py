"""JobDifficulty on the connection's side, and extranonce1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.stratum import jobs
from pithead.stratum.login import Login
from pithead.stratum.session import (
    LOGINS_MAX,
    SENT_MAX,
    Extranonce1Counter,
    Extranonce1Exhausted,
    Session,
)
from pithead.stratum.vardiff import Vardiff, VardiffPolicy
from tests.unit.stratum.support import DEVCHAIN, EASY_BITS, book, notified, parse_lines, template

pytestmark = pytest.mark.gate

POLICY = VardiffPolicy(
    share_interval_ms=5_000,
    retarget_interval_ms=60_000,
    variance_percent=40,
    weight_min=1,
    weight_max=1 << 40,
)


def session(weight: int = 1000, number: int = 1) -> Session:
    return Session(DEVCHAIN, 3, b"\x03" + number.to_bytes(4, "big"), Vardiff(POLICY, weight, 0))


def test_the_first_offer_shows_the_difficulty_and_drops_older_jobs() -> None:
    works, one = book(), session()
    lines = parse_lines(one.offer(works, works.add(template(), 0)))
    assert [line["method"] for line in lines] == ["mining.set_difficulty", "mining.notify"]
    assert notified(lines[1]).clean
    assert one.shown_weight == 1000


def test_the_same_work_at_the_same_weight_is_not_sent_again() -> None:
    works, one = book(), session()
    entry = works.add(template(), 0)
    assert one.offer(works, entry)
    assert one.offer(works, entry) == b""


def test_newer_work_on_the_same_parent_keeps_older_jobs() -> None:
    works, one = book(), session()
    one.offer(works, works.add(template(), 0))
    lines = parse_lines(one.offer(works, works.add(template(), 0)))
    assert [line["method"] for line in lines] == ["mining.notify"]
    assert not notified(lines[0]).clean
    assert len(one.sent) == 2


def test_a_connection_that_missed_the_clean_job_is_told_to_drop_with_the_next() -> None:
    works, one = book(), session()
    one.offer(works, works.add(template(101), 0))
    works.add(template(102), 0)
    lines = parse_lines(one.offer(works, works.add(template(102), 0)))
    assert notified(lines[-1]).clean


def test_no_share_weighs_more_than_a_block_of_the_network() -> None:
    works, one = book(), session(weight=1 << 30)
    entry = works.add(template(bits=EASY_BITS), 0)
    one.offer(works, entry)
    assert one.shown_weight == 2


def test_a_retarget_beyond_the_limit_waits_for_the_next_template() -> None:
    works, one = book(), session(weight=100)
    entry = works.add(template(), 0)
    for step in range(jobs.VARIANTS_MAX):
        one.vardiff.weight = 100 + step
        assert one.offer(works, entry)
    one.vardiff.weight = 5000
    assert one.offer(works, entry) == b""
    one.offer(works, works.add(template(), 0))
    assert one.shown_weight == 5000


def test_jobs_that_a_connection_may_answer_are_bounded() -> None:
    works, one = book(), session()
    entries = [works.add(template(101 + n), 0) for n in range(3)]
    for step in range(3 * SENT_MAX):
        one.vardiff.weight = 100 + step
        one.offer(works, works.add(template(103), 0))
    assert len(one.sent) <= SENT_MAX
    assert entries[0].retired or entries[0].stale


@given(
    st.lists(
        st.one_of(
            st.integers(1, 1 << 36).map(lambda weight: ("retarget", weight)),
            st.sampled_from([("refresh", 0), ("block", 0), ("again", 0)]),
        ),
        max_size=60,
    )
)
def test_a_connection_is_sent_one_serial_at_one_difficulty_only(
    steps: list[tuple[str, int]],
) -> None:
    works = book()
    sessions = [session(100, 1), session(7, 2)]
    entry, height = works.add(template(100), 0), 100
    seen: list[dict[str, float]] = [{}, {}]
    shown = [0.0, 0.0]
    for number, (kind, value) in enumerate([("again", 0), *steps]):
        if kind == "retarget":
            sessions[number % 2].vardiff.weight = value
        elif kind == "refresh":
            entry = works.add(template(height), 0)
        elif kind == "block":
            height += 1
            entry = works.add(template(height), 0)
        for index, one in enumerate(sessions):
            for line in parse_lines(one.offer(works, entry)):
                if line["method"] == "mining.set_difficulty":
                    shown[index] = line["params"][0]
                    continue
                job = notified(line)
                assert job.job_id not in seen[index]
                seen[index][job.job_id] = shown[index]
                assert one.sent[job.job_id].weight == one.shown_weight


def test_extranonce1_is_the_slot_and_a_counter_that_ends() -> None:
    counter = Extranonce1Counter((1 << 32) - 2)
    assert counter.take(7).hex() == "07fffffffe"
    assert counter.take(8).hex() == "08ffffffff"
    with pytest.raises(Extranonce1Exhausted):
        counter.take(7)


def test_logins_on_one_connection_are_bounded() -> None:
    one = session()
    for number in range(LOGINS_MAX - 1):
        one.add_login(str(number), Login("a", str(number), 3))
    assert one.may_add_login()
    one.pending = 1
    assert not one.may_add_login()
    assert one.first_login is not None
    assert one.first_login.text == "a.0"
