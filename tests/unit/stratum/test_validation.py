"""Share checks, with real hashes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pithead.coins.hashing import pow_hash
from pithead.coins.weight import target_of_weight
from pithead.contracts.share_log_pb2 import RejectReason
from pithead.stratum.errors import Code
from pithead.stratum.jobs import JobBook, Variant
from pithead.stratum.messages import SubmitAsked
from pithead.stratum.parsing import parse_hex
from pithead.stratum.protocol import VERSION_MASK
from pithead.stratum.validation import (
    BAD_EXTRANONCE2,
    BAD_NONCE,
    BAD_NTIME,
    BAD_VERSION,
    DUPLICATE,
    LOW,
    NTIME_AHEAD_S_MAX,
    NTIME_RANGE,
    VERSION_RANGE,
    Candidate,
    Rejected,
    Sent,
    conclude,
    is_block,
    prepare,
)
from tests.unit.stratum.support import DEVCHAIN, EASY_BITS, HARD_BITS, book, template

pytestmark = pytest.mark.gate

EXTRANONCE1 = b"\x03\x00\x00\x00\x01"
TIME = template().time


def sent_at(works: JobBook, weight: int = 1, index: int = 0, bits: int = HARD_BITS) -> Sent:
    entry = works.current or works.add(template(bits=bits), 0)
    variant = works.variant(entry, index)
    assert variant is not None
    return Sent(variant, weight, target_of_weight(weight, 0))


def submit(**changes: Any) -> SubmitAsked:
    fields: dict[str, Any] = {
        "id": b"1",
        "user": "w",
        "job": "0",
        "extranonce2": "00" * 8,
        "ntime": f"{TIME:08x}",
        "nonce": "00000000",
        "version_bits": "",
    }
    return SubmitAsked(**{**fields, **changes})


def check(
    works: JobBook, sent: Sent, share: SubmitAsked, now_ms: int = 0, mask: int = VERSION_MASK
) -> Rejected | Candidate:
    return prepare(works, sent, EXTRANONCE1, mask, share, now_ms)


def credit(works: JobBook, sent: Sent, share: SubmitAsked) -> int:
    """Run a share through all steps; the weight credited, 0 when it is refused."""
    candidate = check(works, sent, share)
    if isinstance(candidate, Rejected):
        return 0
    if conclude(works, candidate, pow_hash(DEVCHAIN, candidate.header), 0) is not None:
        return 0
    assert works.accept(sent.variant, candidate.key)
    return sent.weight


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"extranonce2": "00" * 7}, BAD_EXTRANONCE2),
        ({"extranonce2": "00" * 9}, BAD_EXTRANONCE2),
        ({"extranonce2": "0G" * 8}, BAD_EXTRANONCE2),
        ({"extranonce2": "0 " * 8}, BAD_EXTRANONCE2),
        ({"ntime": "6b49d20"}, BAD_NTIME),
        ({"ntime": "0x6b49d2"}, BAD_NTIME),
        ({"nonce": "+0000001"}, BAD_NONCE),
        ({"nonce": "1 2 3 4 "}, BAD_NONCE),
        ({"nonce": "AB CD EF"}, BAD_NONCE),
        ({"version_bits": "2000"}, BAD_VERSION),
        ({"version_bits": "20000000"}, VERSION_RANGE),
        ({"version_bits": "00000001"}, VERSION_RANGE),
        ({"ntime": f"{TIME - 1:08x}"}, NTIME_RANGE),
        ({"ntime": f"{TIME + NTIME_AHEAD_S_MAX + 1:08x}"}, NTIME_RANGE),
    ],
    ids=repr,
)
def test_content_that_breaks_a_rule_is_refused(changes: Any, refusal: Rejected) -> None:
    works = book()
    assert check(works, sent_at(works), submit(**changes)) == refusal


@pytest.mark.parametrize("ahead", [0, NTIME_AHEAD_S_MAX])
def test_both_ends_of_the_time_range_are_valid(ahead: int) -> None:
    works = book()
    sent = sent_at(works)
    assert isinstance(check(works, sent, submit(ntime=f"{TIME + ahead:08x}")), Candidate)


def test_rolled_bits_replace_those_of_the_template_inside_the_mask_only() -> None:
    works = book()
    candidate = check(works, sent_at(works), submit(version_bits="1fffe000"))
    assert isinstance(candidate, Candidate)
    assert candidate.version == 0x3FFFE000
    plain = check(works, sent_at(works), submit())
    assert isinstance(plain, Candidate)
    assert plain.version == 0x20000000


def test_without_version_rolling_no_bits_are_accepted() -> None:
    works = book()
    assert check(works, sent_at(works), submit(version_bits="00002000"), mask=0) == VERSION_RANGE
    zero = check(works, sent_at(works), submit(version_bits="00000000"), mask=0)
    assert isinstance(zero, Candidate)
    assert zero.version == 0x20000000


def test_a_repeated_header_is_a_duplicate_however_it_is_spelt() -> None:
    works = book()
    sent = sent_at(works)
    assert credit(works, sent, submit()) == 1
    assert check(works, sent, submit()) == DUPLICATE
    # The template's own bits within the mask are zero: naming them changes no header.
    assert check(works, sent, submit(version_bits="00000000")) == DUPLICATE


def test_a_share_in_upper_case_is_read_and_is_no_second_share() -> None:
    works = book()
    sent = sent_at(works)
    share = {"extranonce2": "00000000abcdef01", "ntime": f"{TIME:08x}", "nonce": "abcdef01"}
    loud = {name: text.upper() for name, text in share.items()}
    assert credit(works, sent, submit(**loud, version_bits="1FFFE000")) == 1
    assert check(works, sent, submit(**share, version_bits="1fffe000")) == DUPLICATE
    assert check(works, sent, submit(**loud, version_bits="1fffe000")) == DUPLICATE


def test_a_duplicate_that_was_hashed_meanwhile_is_refused_at_the_end() -> None:
    works = book()
    sent = sent_at(works)
    first, second = check(works, sent, submit()), check(works, sent, submit())
    assert isinstance(first, Candidate)
    assert isinstance(second, Candidate)
    assert conclude(works, first, 0, 0) is None
    works.accept(sent.variant, first.key)
    assert conclude(works, second, 0, 0) == DUPLICATE


def test_a_hash_above_the_target_that_was_sent_is_low() -> None:
    works = book()
    sent = sent_at(works, weight=1 << 20)
    candidate = check(works, sent, submit())
    assert isinstance(candidate, Candidate)
    assert conclude(works, candidate, sent.target, 0) is None
    assert conclude(works, candidate, sent.target + 1, 0) == LOW


def test_stale_job_is_refused_but_its_solve_is_recognised() -> None:
    works = book()
    sent = sent_at(works, bits=EASY_BITS)
    works.add(template(102), 0)
    candidate = check(works, sent, submit())
    assert isinstance(candidate, Candidate)
    refusal = conclude(works, candidate, 0, 0)
    assert refusal is not None
    assert (refusal.reason, refusal.code) == (RejectReason.REJECT_STALE, Code.JOB_NOT_FOUND)
    assert is_block(candidate, 0)


def test_of_a_stale_share_of_wrong_content_the_moment_is_told_first() -> None:
    works = book()
    sent = sent_at(works)
    works.add(template(102), 0)
    refusal = check(works, sent, submit(nonce="zz"))
    assert isinstance(refusal, Rejected)
    assert refusal.code == Code.JOB_NOT_FOUND


def test_a_retarget_never_lets_one_header_be_credited_at_two_difficulties() -> None:
    """The same numbers on two serials of one work are two headers with two hashes."""
    works = book()
    easy, hard = sent_at(works, 1, 0), sent_at(works, 1 << 8, 1)
    headers = set()
    for nonce in range(64):
        for sent in (easy, hard):
            candidate = check(works, sent, submit(nonce=f"{nonce:08x}"))
            assert isinstance(candidate, Candidate)
            headers.add(candidate.header)
            value = pow_hash(DEVCHAIN, candidate.header)
            assert (conclude(works, candidate, value, 0) is None) == (value <= sent.target)
    assert len(headers) == 128


@settings(max_examples=60)
@given(
    shares=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 1),
            st.integers(0, 1),
            st.integers(0, 3),
            st.sampled_from(["", "00000000", "00002000"]),
        ),
        max_size=60,
    )
)
def test_the_same_header_is_never_credited_twice(
    shares: list[tuple[int, int, int, int, str]],
) -> None:
    works = book()
    jobs: list[Variant] = [sent_at(works, 1, index).variant for index in range(3)]
    credited: set[bytes] = set()
    for job, extra, later, nonce, bits in shares:
        sent = Sent(jobs[job], 1, target_of_weight(1, 0))
        share = submit(
            extranonce2=f"{extra:016x}",
            ntime=f"{TIME + later:08x}",
            nonce=f"{nonce:08x}",
            version_bits=bits,
        )
        candidate = check(works, sent, share)
        if credit(works, sent, share):
            assert isinstance(candidate, Candidate)
            assert candidate.header not in credited
            credited.add(candidate.header)


@given(st.text(max_size=20) | st.text("0aA fF", max_size=18), st.integers(0, 9))
def test_a_value_is_read_in_either_case_and_in_no_other_spelling(text: str, size: int) -> None:
    value = parse_hex(text, size)
    assert value is None or value.hex() == text.lower()
