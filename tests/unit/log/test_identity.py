"""UUIDv7 by RFC 9562."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.log.identity import minted_ms, uuid7

pytestmark = pytest.mark.gate


def test_the_vector_of_the_rfc_comes_out() -> None:
    # RFC 9562, appendix A.6.
    random = bytes.fromhex("0cc3") + bytes.fromhex("18c4dc0c0c07398f")
    assert uuid7(0x017F22E279B0, random).hex() == "017f22e279b07cc398c4dc0c0c07398f"


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_version_variant_and_time_are_where_they_belong(now_ms: int, random: bytes) -> None:
    identity = uuid7(now_ms, random)
    parsed = uuid.UUID(bytes=identity)
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert minted_ms(identity) == now_ms


@given(st.integers(0, (1 << 48) - 2), st.binary(min_size=10, max_size=10))
def test_later_ones_sort_later(now_ms: int, random: bytes) -> None:
    assert uuid7(now_ms, b"\xff" * 10) < uuid7(now_ms + 1, random)


@pytest.mark.parametrize(
    ("now_ms", "random"), [(-1, bytes(10)), (1 << 48, bytes(10)), (0, bytes(9)), (0, bytes(11))]
)
def test_what_does_not_fit_is_refused(now_ms: int, random: bytes) -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        uuid7(now_ms, random)


@pytest.mark.parametrize("other", [b"", bytes(16), uuid.UUID(int=0, version=4).bytes])
def test_other_bytes_have_no_minting_time(other: bytes) -> None:
    with pytest.raises(ValueError, match="no UUIDv7"):
        minted_ms(other)
