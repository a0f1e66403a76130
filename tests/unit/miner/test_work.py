"""The search: right headers, none twice, no faster than allowed."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.hashing import scrypt_pow, sha256d_pow
from pithead.coins.notify import parse_notify
from pithead.coins.weight import target_of_weight
from pithead.miner import work as work_module
from pithead.miner.protocol import Work
from pithead.miner.work import (
    ALGORITHMS,
    Searcher,
    Solution,
    TokenBucket,
    job_mark,
    roll_version,
)
from tests.unit.miner.pool import MASK, SALT, SERIAL, job_of

pytestmark = pytest.mark.gate


def work(weight: int = 8, *, mask: int = MASK, size: int = 8, serial: int = SERIAL) -> Work:
    job = parse_notify(job_of(serial).notify_params(clean=True))
    return Work(job, target_of_weight(weight, 0), bytes([1, 0, 0, 0, 5]), size, mask)


def header(solution: Solution) -> bytes:
    return solution.work.job.header(
        solution.work.extranonce1,
        solution.extranonce2,
        solution.ntime,
        solution.nonce,
        solution.version,
    )


def test_every_solution_meets_the_target() -> None:
    searcher = Searcher(ALGORITHMS["sha256d"])
    searcher.set_work(work())
    found = searcher.search(2000)
    assert 150 < len(found) < 380
    assert all(sha256d_pow(header(solution)) <= solution.work.target for solution in found)
    assert len({header(solution) for solution in found}) == len(found)


def test_scrypt_is_searched_as_well() -> None:
    searcher = Searcher(ALGORITHMS["scrypt"])
    searcher.set_work(work(2))
    found = searcher.search(40)
    assert found
    assert all(scrypt_pow(header(solution)) <= solution.work.target for solution in found)


def test_slices_find_what_one_piece_finds() -> None:
    whole, sliced = Searcher(ALGORITHMS["sha256d"]), Searcher(ALGORITHMS["sha256d"])
    one = work()
    whole.set_work(one)
    sliced.set_work(one)
    parts = [solution for size in (1, 10, 489) for solution in sliced.search(size)]
    assert parts == whole.search(500)


def test_a_job_that_is_sent_again_is_searched_in_new_places() -> None:
    searcher = Searcher(ALGORITHMS["sha256d"])
    seen: set[bytes] = set()
    for _ in range(5):
        searcher.set_work(work())
        headers = {header(solution) for solution in searcher.search(300)}
        assert not headers & seen
        seen |= headers


def test_after_the_last_nonce_the_next_extranonce2_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work_module, "NONCES", 64)
    searcher = Searcher(ALGORITHMS["sha256d"])
    searcher.set_work(work(2))
    found = searcher.search(64 * 3)
    assert {solution.extranonce2[-1] for solution in found} == {0, 1, 2}
    assert max(solution.nonce for solution in found) < 64


def test_a_short_extranonce2_wraps_and_the_version_goes_on() -> None:
    searcher = Searcher(ALGORITHMS["sha256d"])
    pairs = []
    for _ in range(300):
        searcher.set_work(work(1, size=1))
        (solution,) = searcher.search(1)
        pairs.append((solution.extranonce2, solution.version))
    assert len(set(pairs)) == 300


def test_without_work_nothing_is_found() -> None:
    searcher = Searcher(ALGORITHMS["sha256d"])
    assert not searcher.has_work
    assert searcher.search(1000) == []


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 1 << 40))
def test_rolled_bits_stay_inside_the_mask(version: int, mask: int, counter: int) -> None:
    rolled, bits = roll_version(version, mask, counter)
    assert rolled & ~mask == version & ~mask
    assert bits is None if mask == 0 else bits == rolled & mask


def test_rolling_counts_through_all_bits_of_the_mask() -> None:
    assert len({roll_version(0, MASK, counter) for counter in range(1 << 16)}) == 1 << 16


def test_the_mark_of_a_job_is_read_from_its_coinbase() -> None:
    mark = job_mark(job_of().coinb1)
    assert mark is not None
    assert mark == (SALT, SERIAL)


@pytest.mark.parametrize("coinb1", [b"", b"PTHD", bytes(60)])
def test_a_foreign_job_has_no_mark(coinb1: bytes) -> None:
    assert job_mark(coinb1) is None


@pytest.mark.parametrize("rate", [0.2, 3.0, 64.0, 20_000.0])
def test_the_rate_is_kept_over_time(rate: float) -> None:
    bucket = TokenBucket(rate, 100.0)
    now, taken = 100.0, 0
    while now < 200.0:
        taken += bucket.take(now, 10**9)
        now += max(bucket.delay_s(), 0.001)
    assert 0.98 * rate * 100 - 1 <= taken <= rate * 100 + 1


def test_a_pause_is_not_made_up_for() -> None:
    bucket = TokenBucket(1000.0, 0.0)
    assert bucket.take(3600.0, 10**9) == 250


def test_a_slice_takes_no_more_than_asked_and_leaves_the_rest() -> None:
    bucket = TokenBucket(1000.0, 0.0)
    assert [bucket.take(0.2, 80) for _ in range(3)] == [80, 80, 0]
    assert bucket.delay_s() == pytest.approx(0.01)


def test_no_bound_takes_whole_slices() -> None:
    bucket = TokenBucket(math.inf, 0.0)
    assert bucket.take(0.0, 777) == 777
    assert bucket.delay_s() == 0


def test_targets_are_those_of_the_work_and_not_of_an_earlier_one() -> None:
    searcher = Searcher(ALGORITHMS["sha256d"])
    hard = replace_target(work(), 1)
    searcher.set_work(hard)
    assert searcher.search(500) == []
    searcher.set_work(work(1))
    assert len(searcher.search(5)) == 5


def replace_target(item: Work, target: int) -> Work:
    return Work(
        replace(item.job), target, item.extranonce1, item.extranonce2_size, item.version_mask
    )
