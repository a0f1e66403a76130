"""Canonical parameters: bytes that never change, as the reward schemes read them."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.manifests.scheme import RewardScheme, canonical_parameters, revision_of
from pithead.rewards.scheme import parse_canonical, scheme_for
from tests.unit.manifests.samples import scheme

pytestmark = pytest.mark.gate


def canonical(**spec: Any) -> str:
    return canonical_parameters(RewardScheme.model_validate(scheme(**spec)))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, '{"fee_ppm":10000,"method":"PPLNS","window":{"factor_ppm":2000000}}'),
        (
            {"feePercent": "0.5", "pplns": {"window": {"weight": 200000}}},
            '{"fee_ppm":5000,"method":"PPLNS","window":{"weight":"200000"}}',
        ),
        (
            {"feePercent": 0, "pplns": {"window": {"networkFactor": "0.25"}}},
            '{"fee_ppm":0,"method":"PPLNS","window":{"factor_ppm":250000}}',
        ),
    ],
    ids=["factor", "weight", "no fee"],
)
def test_canonical_text_of_known_schemes(spec: dict[str, Any], text: str) -> None:
    assert canonical(**spec) == text


def test_revision_is_the_hash_of_the_text() -> None:
    text = canonical()
    assert revision_of(text) == hashlib.sha256(text.encode()).hexdigest()
    # A vector: this hash stands in the books of every pool with these parameters.
    assert revision_of(text) == "1cb73fc0c299531920822ebdeb114b89ba7ab3f6a74d9660cf42892c730ec112"


def test_spelling_of_a_number_does_not_make_a_revision() -> None:
    spellings: tuple[Any, ...] = ("1", "1.0", "1.0000", 1)
    assert len({canonical(feePercent=each) for each in spellings}) == 1


def test_names_and_labels_do_not_change_money() -> None:
    one = scheme("one")
    one["metadata"]["labels"] = {"team": "money"}
    assert canonical_parameters(RewardScheme.model_validate(one)) == canonical()


@given(
    st.integers(0, 999_999),
    st.integers(1, 9_999_999_999),
    st.one_of(st.none(), st.integers(1, 10**38 - 1)),
)
def test_reward_schemes_accept_every_canonical_text(
    fee: int, factor: int, weight: int | None
) -> None:
    percent = f"{fee // 10_000}.{fee % 10_000:04}"
    text = f"{factor // 10**6}.{factor % 10**6:06}".rstrip("0").rstrip(".")
    if weight is None and len(text) > 8:
        return
    window = {"networkFactor": text} if weight is None else {"weight": str(weight)}
    written = canonical(feePercent=percent, pplns={"window": window})
    document = parse_canonical(written)
    assert document["fee_ppm"] == fee
    scheme_for("PPLNS").bind(written)
