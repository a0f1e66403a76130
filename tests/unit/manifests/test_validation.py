"""The sentence for each way in which one document can be wrong."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pithead.manifests import ManifestErrors, parse_manifests
from tests.unit.manifests.samples import (
    FILE,
    endpoint,
    listener,
    node,
    pool,
    problems,
    put,
    scheme,
    secret,
)

pytestmark = pytest.mark.gate

NAME = "1 to 40 lower-case letters, digits and inner hyphens, a letter first"
KINDS = (
    "kinds that are read: MiningPool, CoinEndpoint and RewardScheme of pithead.dev/v1alpha1, "
    "and Secret of v1"
)

CASES: list[tuple[str, Any, str]] = [
    (
        "spec.listeners.0.port",
        99999,
        "spec.listeners[0].port: 99999 is not allowed; expected a whole number from 1 to 65535",
    ),
    (
        "spec.listeners.0.port",
        "3333",
        (
            'spec.listeners[0].port: "3333" is not allowed; expected a whole number from 1 to '
            "65535, "
            "without quotes"
        ),
    ),
    (
        "spec.listeners.0.port",
        33.5,
        "spec.listeners[0].port: 33.5 is not allowed; expected a whole number from 1 to 65535",
    ),
    (
        "spec.listeners.0.port",
        ...,
        "spec.listeners[0].port: is missing; expected a whole number from 1 to 65535",
    ),
    (
        "spec.listeners.0.prot",
        1,
        (
            "spec.listeners[0].prot: is not a field here; did you mean port? expected one of name, "
            "port, host, tls, scheme, difficulty"
        ),
    ),
    (
        "spec.pool_id",
        "x",
        (
            "spec.pool_id: is not a field here; did you mean poolId? expected one of poolId, "
            "coinEndpointRef, schemes, defaultScheme, listeners, vardiff, limits, bans, regions, "
            "payouts, stream, database, analytics, relay, drain"
        ),
    ),
    (
        "spec.zzz",
        "x",
        (
            "spec.zzz: is not a field here; expected one of poolId, coinEndpointRef, schemes, "
            "defaultScheme, listeners, vardiff, limits, bans, regions, payouts, stream, database, "
            "analytics, relay, drain"
        ),
    ),
    (
        "spec.listeners.0.proxyProtocol",
        True,
        "spec.listeners[0].proxyProtocol: is not supported by this release; remove it",
    ),
    ("spec.autoscaling", {}, "spec.autoscaling: is not supported by this release; remove it"),
    (
        "spec.payouts.approvalLimit",
        1,
        "spec.payouts.approvalLimit: is not supported by this release; remove it",
    ),
    (
        "spec.payouts.threshold",
        0.01,
        (
            "spec.payouts.threshold: YAML reads 0.01 as a number; expected coins above zero: a "
            "whole "
            'number, or a decimal in quotes such as "0.01": write "0.01" in quotes'
        ),
    ),
    (
        "spec.payouts.threshold",
        -1,
        (
            "spec.payouts.threshold: -1 is not allowed; expected coins above zero: a whole number, "
            'or a decimal in quotes such as "0.01"'
        ),
    ),
    (
        "spec.payouts.paused",
        "yes",
        'spec.payouts.paused: "yes" is not allowed; expected true or false, without quotes',
    ),
    (
        "spec.regions.0.state",
        "Gone",
        'spec.regions[0].state: "Gone" is not allowed; expected one of Active, Drain, Off',
    ),
    (
        "spec.regions.0.hostnames",
        ["localhost"],
        (
            'spec.regions[0].hostnames[0]: "localhost" is not allowed; expected a full DNS name in '
            "lower case, such as eu.pool.example.org"
        ),
    ),
    (
        "spec.regions.0.serviceAnnotations",
        {f"example.org/{number}": "x" for number in range(33)},
        (
            "spec.regions[0].serviceAnnotations: holds 33 entries; expected a mapping of at most "
            "32 texts"
        ),
    ),
    (
        "spec.regions.0.serviceAnnotations",
        {"example.org/on": True},
        (
            "spec.regions[0].serviceAnnotations[example.org/on]: YAML reads true as true; "
            'expected a text of at most 1024 characters, in quotes: write "true" in quotes'
        ),
    ),
    (
        "metadata.labels",
        {"no key": "x"},
        (
            "metadata.labels[no key]: is not allowed here; expected a label or annotation key, "
            "such as example.org/name"
        ),
    ),
    (
        "spec.schemes",
        [],
        "spec.schemes: holds 0 entries; expected a list of 1 to 16 entries",
    ),
    (
        "spec.schemes",
        "pplns",
        'spec.schemes: "pplns" is not allowed; expected a list of 1 to 16 entries',
    ),
    (
        "spec.coinEndpointRef",
        "dev",
        'spec.coinEndpointRef: "dev" is not allowed; expected a mapping with name',
    ),
    ("spec.poolId", None, "spec.poolId: is empty; give a value or remove the line"),
    ("spec.payouts", None, "spec.payouts: is empty; give a value or remove the line"),
    (
        "metadata.name",
        "Upper",
        f'metadata.name: "Upper" is not allowed; expected {NAME}',
    ),
    ("metadata.name", ..., f"metadata.name: is missing; expected {NAME}"),
    (
        "metadata.lables",
        {},
        (
            "metadata.lables: is not a field here; did you mean labels? expected one of name, "
            "namespace, labels, annotations, generation"
        ),
    ),
    (
        "metadata.labels",
        {"tier": 1},
        (
            "metadata.labels.tier: YAML reads 1 as a number; expected a text (in quotes when it "
            "looks "
            'like a number): write "1" in quotes'
        ),
    ),
    (
        "metadata.generation",
        -1,
        (
            "metadata.generation: -1 is not allowed; expected a whole number from 0 to "
            "9007199254740992"
        ),
    ),
    (
        "apiVersion",
        "pithead.dev/v1",
        'apiVersion: "pithead.dev/v1" is not allowed; expected pithead.dev/v1alpha1',
    ),
    ("apiVersion", ..., "apiVersion: is missing; expected pithead.dev/v1alpha1"),
    (
        "apiVersion",
        "apps/v1",
        'apiVersion: "apps/v1" is not allowed; expected pithead.dev/v1alpha1',
    ),
    ("kind", ..., f"kind: is missing; {KINDS}"),
    ("kind", 7, f"kind: 7 is not a kind; {KINDS}"),
    ("kind", "Deployment", f'kind: "Deployment" is not read; {KINDS}'),
    ("kind", "MinigPool", f'kind: "MinigPool" is not read; did you mean MiningPool? {KINDS}'),
    (
        "extra",
        1,
        "extra: is not a field here; expected one of apiVersion, kind, metadata, spec, status",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "message"), CASES, ids=[f"{p} = {v!r:.20}" for p, v, _ in CASES]
)
def test_mistake_is_told_with_what_is_allowed(path: str, value: Any, message: str) -> None:
    found = problems(put(pool(), path, value), endpoint(), scheme())
    assert [each.partition(": ")[2] for each in found] == [message]


def first_problem(text: str) -> str:
    with pytest.raises(ManifestErrors) as caught:
        parse_manifests(text.encode(), FILE)
    return str(caught.value.problems[0])


def test_bare_off_is_explained() -> None:
    written = json.dumps(put(pool(), "spec.regions.0.state", "OFF")).replace('"OFF"', "Off")
    assert first_problem(written) == (
        "pool.yaml:1: MiningPool/alpha: spec.regions[0].state: YAML reads Off as false; expected "
        'one of Active, Drain, Off: write "Off" in quotes'
    )


@pytest.mark.parametrize(
    ("text", "shown"), [("- a\n", "a list"), ("5\n", "5"), ("words\n", '"words"')]
)
def test_document_that_is_no_mapping_is_refused(text: str, shown: str) -> None:
    assert first_problem(text) == f"pool.yaml:1: a manifest is a mapping, not {shown}"


def test_hostile_names_are_not_printed() -> None:
    named = put(pool(), "metadata.name", "x\x1b[2J\nforged: line")
    found = problems(named, endpoint(), scheme())
    assert found == [
        f'MiningPool/?: metadata.name: "x\\u001b[2J\\nforged: line" is not allowed; expected {NAME}'
    ]


def test_objects_read_back_from_a_server_are_accepted() -> None:
    served = put(pool(), "status", {"observedGeneration": 3, "poolId": "default.alpha"})
    for key, value in {
        "uid": "0b3c", "resourceVersion": "12", "generation": 3, "creationTimestamp": None,
        "managedFields": [{"manager": "kubectl"}], "finalizers": ["pithead.dev/x"],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}" * 5000},
    }.items():  # fmt: skip
        served["metadata"][key] = value
    assert problems(served, endpoint(), scheme()) == []


LITECOIN = endpoint(coin="litecoin", nodes=[node()])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            secret(username="user", password=9871234),
            (
                "Secret/rpc: stringData.password: the value is not allowed (it is not shown); "
                "expected a text (in quotes when it looks like a number)"
            ),
        ),
        (
            secret(username="us:er", password="w0rd-9871234"),
            (
                "Secret/rpc: stringData.username: a user name cannot hold a colon "
                "(HTTP basic authentication)"
            ),
        ),
        (
            secret(username="user", password="9871234\nx"),
            "Secret/rpc: stringData.password: expected 1 to 1024 printable characters in one line",
        ),
        (
            secret() | {"data": {"password": "9871234!"}},
            (
                "Secret/rpc: data.password: the value is not base64 of a text; use stringData for "
                "plain"
            ),
        ),
        (
            put(secret(), "stringData", ["9871234"]),
            (
                "Secret/rpc: stringData: the value is not allowed (it is not shown); expected a "
                "mapping of texts"
            ),
        ),
    ],
    ids=["number", "colon", "two lines", "base64", "list"],
)
def test_value_of_a_secret_is_never_shown(given: dict[str, Any], message: str) -> None:
    found = problems(pool(), LITECOIN, scheme(), given)
    assert found == [message]
    assert "9871234" not in "".join(found)


def test_secret_is_read_in_both_of_its_forms() -> None:
    encoded = secret() | {"data": {"username": "dXNlcg==", "password": "b3RoZXI="}}
    del encoded["stringData"]
    both = secret(password="wins") | {"data": {"username": "dXNlcg==", "password": "b3RoZXI="}}
    typed = secret() | {"type": "kubernetes.io/basic-auth", "immutable": True}
    for form, password in ((encoded, "other"), (both, "wins"), (typed, "s3cret-word")):
        objects = (pool(), LITECOIN, scheme(), form)
        text = "---\n".join(json.dumps(each) + "\n" for each in objects)
        credentials = parse_manifests(text.encode(), FILE).credentials["rpc"]
        assert (credentials.username, credentials.password) == ("user", password)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of a structure."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


ALL_OBJECTS = [pool(listeners=[listener(scheme="pplns")]), LITECOIN, scheme(), secret()]


@settings(max_examples=120)
@given(st.data())
def test_no_value_at_any_place_makes_validation_raise(data: st.DataObject) -> None:
    objects = copy.deepcopy(ALL_OBJECTS)
    target = data.draw(st.sampled_from(objects))
    path = data.draw(st.sampled_from(places(target)))
    at: Any = target
    for part in path[:-1]:
        at = at[part]
    if data.draw(st.booleans()):
        at[path[-1]] = data.draw(values)
    elif isinstance(at, dict):
        at[data.draw(st.text(max_size=6))] = data.draw(values)
    text = "---\n".join(json.dumps(each) + "\n" for each in objects)
    try:
        parse_manifests(text.encode(), FILE)
    except ManifestErrors as error:
        for problem in error.problems:
            assert "\n" not in str(problem)
            assert str(problem).isprintable()
            assert str(problem).startswith("pool.yaml")
