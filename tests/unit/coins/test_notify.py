"""The miner's side: from the text of `mining.notify` to the header that the pool checks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.job import make_job, pool_tag
from pithead.coins.notify import NotifyError, header_from_notify, parse_notify
from pithead.coins.script import p2wpkh
from pithead.coins.template import parse_template
from tests.unit.coins.strategies import LTC_REGTEST, template_replies, template_reply, u32

pytestmark = pytest.mark.gate


def _notify(reply: dict[str, Any]) -> list[Any]:
    template = parse_template(LTC_REGTEST, reply)
    job = make_job(template, p2wpkh(bytes(20)), pool_tag("p"), bytes(16), 9)
    return list(job.notify_params(clean=True))


@given(
    template_replies(),
    st.binary(min_size=5, max_size=5),
    st.binary(min_size=8, max_size=8),
    u32,
    u32,
    u32,
)
def test_miner_and_pool_hash_the_same_header(
    reply: dict[str, Any], one: bytes, two: bytes, ntime: int, nonce: int, version: int
) -> None:
    template = parse_template(LTC_REGTEST, reply)
    job = make_job(template, p2wpkh(bytes(20)), pool_tag("p"), bytes(16), 9)
    mined = header_from_notify(job.notify_params(clean=True), one, two, ntime, nonce, version)
    assert mined == job.header(one, two, ntime, nonce, version)
    assert mined[-4:] == nonce.to_bytes(4, "little")


def test_notified_fields_are_those_of_the_template() -> None:
    job = parse_notify(_notify(template_reply()))
    assert job.job_id == "9"
    assert job.parent == bytes(range(32))
    assert (job.version, job.bits, job.ntime) == (0x20000000, 0x207FFFFF, 1_700_000_100)
    assert job.clean is True
    assert job.branch == ()


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        pytest.param(0, 5, "job id", id="id"),
        pytest.param(1, "00", "previous hash has 1 bytes", id="short hash"),
        pytest.param(2, "zz", "coinb1 is not hex", id="no hex"),
        pytest.param(3, "00" * 100_001, "coinb2 is not a hex string of sane", id="long"),
        pytest.param(4, ["00"], "branch has 1 bytes", id="branch"),
        pytest.param(4, ["00" * 32] * 33, "at most 32", id="long branch"),
        pytest.param(4, None, "branch is not a list", id="no branch"),
        pytest.param(5, 2, "version", id="number"),
        pytest.param(6, "1d00ff", "bits has 3", id="bits"),
        pytest.param(7, "", "time has 0", id="time"),
    ],
)
def test_bad_notify_is_refused_by_its_field(at: int, value: object, said: str) -> None:
    params = _notify(template_reply())
    params[at] = value
    with pytest.raises(NotifyError, match=said):
        parse_notify(params)


@pytest.mark.parametrize("numbers", [(-1, 0, 0), (0, 1 << 32, 0), (0, 0, -1)])
def test_numbers_beyond_32_bits_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(NotifyError, match="32-bit"):
        header_from_notify(_notify(template_reply()), bytes(5), bytes(8), *numbers)


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=80)


@given(st.lists(json_values | st.lists(json_values, max_size=3), max_size=11))
def test_random_parameters_raise_only_the_notify_error(params: list[Any]) -> None:
    try:
        parse_notify(params)
    except NotifyError:
        return
