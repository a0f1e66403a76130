"""Names: readable, valid, short enough, and never one name for two things."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pithead.store.roles import RoleSecret, check_secrets
from pithead_operator.desired import names

pytestmark = pytest.mark.gate

LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")

# Few letters and many hyphens, digits and lengths, so that names nearly meet.
pools = st.from_regex(r"[ab]([ab0-]{0,38}[ab0])?", fullmatch=True)
regions = st.from_regex(r"[ab]([ab0-]{0,30}[ab0])?", fullmatch=True)
namespaces = st.from_regex(r"[a0]([ab0-]{0,61}[a0])?", fullmatch=True)
endings = st.sampled_from(["stratum", "anchor"])


def test_name_is_as_a_person_would_write_it() -> None:
    assert names.edge_name("ltc", "eu-west-1") == "ltc-eu-west-1-stratum"
    assert names.edge_name("ltc", "eu", "anchor") == "ltc-eu-anchor"
    assert names.payouts_name("litecoin") == "pithead-payouts-litecoin"
    assert names.hub_owner("mining") == "mining.hub"
    assert names.pool_owner("mining", "ltc") == "mining.ltc"


@given(pools, regions, endings)
def test_names_of_edges_are_dns_labels(pool: str, region: str, ending: str) -> None:
    name = names.joined(pool, region, suffix=ending)
    assert len(name) <= 63
    assert LABEL.fullmatch(name)
    assert name.endswith(f"-{ending}")


@given(st.lists(st.tuples(pools, regions, endings), min_size=2, max_size=2, unique=True))
def test_different_edges_have_different_names(pairs: list[tuple[str, str, str]]) -> None:
    (pool, region, ending), (other_pool, other_region, other_ending) = pairs
    runs_together = f"{pool}-{region}" == f"{other_pool}-{other_region}"
    if runs_together and ending == other_ending:
        return  # which the manifests' checks refuse
    first = names.joined(pool, region, suffix=ending)
    assert first != names.joined(other_pool, other_region, suffix=other_ending)


@given(st.lists(st.text("ab0", min_size=1, max_size=70), min_size=2, max_size=2, unique=True))
def test_no_cut_name_is_the_plain_name_of_something_else(texts: list[str]) -> None:
    first, second = texts
    assert names.joined("x", first) != names.joined("x", second)
    # What one was cut to is itself a word that somebody may choose.
    cut = names.joined("x" * 70, first)
    assert names.joined(cut) != cut


@given(pools)
def test_jobs_of_a_cron_job_have_room_for_their_number(endpoint: str) -> None:
    name = names.payouts_name(endpoint)
    assert len(name) <= 52
    assert LABEL.fullmatch(name)


@given(st.lists(st.tuples(namespaces, pools), min_size=2, max_size=2, unique=True))
def test_owners_are_label_values_and_never_shared(pairs: list[tuple[str, str]]) -> None:
    first, second = (names.pool_owner(*pair) for pair in pairs)
    assert first != second
    assert len(first) <= 63
    assert VALUE.fullmatch(first)


@given(namespaces, namespaces)
def test_pool_named_hub_is_not_taken_for_the_hub(namespace: str, other: str) -> None:
    assert names.pool_owner(namespace, "hub") != names.hub_owner(other)


@given(st.from_regex(r"[a-z_][a-z0-9_]{0,62}", fullmatch=True))
@example("a" * 63)
@example("a" * 45)
def test_roles_are_plain_identifiers_of_postgresql(database: str) -> None:
    roles = {names.role_name(database, each) for each in ("ledger", "shares")}
    assert len(roles) == 2
    check_secrets({role: RoleSecret(role, "a password") for role in roles})
