"""Rules over several fields, the same for Python and for the API server.

`BROKEN` holds one bad manifest for each rule; a test proves that none is
missing, that Python refuses it at the right place, and that the CRD carries
the rule's CEL at that structure.
"""

from typing import Any

import pytest
from pydantic import ValidationError

from pithead.manifests.base import Metadata, Shape
from pithead.manifests.changes import item_of, shape_of
from pithead.manifests.crds import KINDS, crd
from pithead.manifests.pool import DifficultyBounds
from pithead.manifests.service_rules import ANNOTATION_KEY, DNS_ANNOTATION
from tests.unit.manifests.samples import (
    endpoint,
    kafka,
    listener,
    node,
    pool,
    problems,
    put,
    region_stream,
    scheme,
    secret,
)

pytestmark = pytest.mark.gate

TWO_SCHEMES = [{"name": "pplns"}, {"name": "other"}]

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "self.coin == 'devchain' || size(self.nodes) > 0": (
        endpoint(coin="litecoin"),
        "CoinEndpoint/dev: spec.nodes: no node is given; only coin devchain has a built-in one",
    ),
    "size(self.nodes) == 0 || self.nodes.exists(n, n.role == 'main')": (
        endpoint(coin="litecoin", nodes=[node(role="standby")]),
        "CoinEndpoint/dev: spec.nodes: every node is a standby; at least one has role main",
    ),
    "!has(self.devchain) || (self.coin == 'devchain' && size(self.nodes) == 0)": (
        endpoint(nodes=[node()], devchain={"hashesPerBlock": 100}),
        (
            "CoinEndpoint/dev: spec.devchain: parameters of the built-in node are given, which "
            "runs "
            "only for coin devchain without nodes; remove them"
        ),
    ),
    "(self.method == 'PPLNS') == has(self.pplns)": (
        put(scheme(), "spec.pplns", ...),
        (
            "RewardScheme/pplns: spec.pplns: the parameters of the method are missing; "
            "method PPLNS takes pplns"
        ),
    ),
    "has(self.networkFactor) != has(self.weight)": (
        scheme(pplns={"window": {"networkFactor": 2, "weight": 5}}),
        "RewardScheme/pplns: spec.pplns.window: exactly one of networkFactor and weight is given",
    ),
    "double(self.min) <= double(self.start) && double(self.start) <= double(self.max)": (
        pool(listeners=[listener(difficulty={"start": "0.001", "min": "0.01", "max": 5})]),
        (
            "MiningPool/alpha: spec.listeners[0].difficulty.start: the start is outside of min and "
            "max; min <= start <= max holds"
        ),
    ),
    "has(self.defaultScheme) || size(self.schemes) == 1": (
        pool(schemes=TWO_SCHEMES),
        (
            "MiningPool/alpha: spec.defaultScheme: is missing; with several schemes, one of "
            "spec.schemes is the default"
        ),
    ),
    "!has(self.defaultScheme) || self.schemes.exists(s, s.name == self.defaultScheme)": (
        pool(defaultScheme="gone"),
        (
            "MiningPool/alpha: spec.defaultScheme: the scheme is not offered; it is one of "
            "spec.schemes"
        ),
    ),
    "self.listeners.all(l, !has(l.scheme) || self.schemes.exists(s, s.name == l.scheme))": (
        pool(listeners=[listener(), listener("b", 2, scheme="gone")]),
        (
            "MiningPool/alpha: spec.listeners[1].scheme: the scheme of a listener is not offered; "
            "it is one of spec.schemes"
        ),
    ),
    "self.listeners.all(l, self.listeners.exists_one(m, m.port == l.port))": (
        pool(listeners=[listener(), listener("b")]),
        (
            "MiningPool/alpha: spec.listeners[1].port: two listeners have this port; each has one "
            "of its own"
        ),
    ),
    "self.listeners.all(l, !(l.port in [9400, 9500]))": (
        pool(listeners=[listener(), listener("b", 9500)]),
        (
            "MiningPool/alpha: spec.listeners[1].port: the ports 9400 and 9500 are those of health "
            "and gRPC; give the listener another"
        ),
    ),
    "self.listeners.all(l, !(l.name in ['health', 'metrics']))": (
        pool(listeners=[listener("health")]),
        (
            "MiningPool/alpha: spec.listeners[0].name: the names health and metrics are those of "
            "other ports; give the listener another"
        ),
    ),
    "isIP(self.host)": (
        pool(listeners=[listener(host="300.1.1.1")]),
        (
            "MiningPool/alpha: spec.listeners[0].host: this is no address; expected an IPv4 or "
            "IPv6 address of this machine, such as 0.0.0.0 or 127.0.0.1"
        ),
    ),
    "!has(self.serviceAnnotations) || "
    f"self.serviceAnnotations.all(k, k.matches('{ANNOTATION_KEY}'))": (
        pool(regions=[{"id": "eu", "serviceAnnotations": {"no key": "x"}}]),
        (
            "MiningPool/alpha: spec.regions[0].serviceAnnotations[no key]: this is no key of an "
            "annotation; expected one such as example.org/name"
        ),
    ),
    "!has(self.serviceAnnotations) || "
    "self.serviceAnnotations.all(k, !k.startsWith('pithead.dev/'))": (
        pool(regions=[{"id": "eu", "serviceAnnotations": {"pithead.dev/x": "y"}}]),
        (
            "MiningPool/alpha: spec.regions[0].serviceAnnotations[pithead.dev/x]: annotations "
            "under pithead.dev/ are set by the operator; remove it"
        ),
    ),
    "!has(self.hostnames) || size(self.hostnames) == 0 || !has(self.serviceAnnotations)"
    f" || !('{DNS_ANNOTATION}' in self.serviceAnnotations)": (
        pool(
            regions=[
                {
                    "id": "eu",
                    "hostnames": ["eu.example.org"],
                    "serviceAnnotations": {DNS_ANNOTATION: "eu.example.org"},
                }
            ]
        ),
        (
            f"MiningPool/alpha: spec.regions[0].hostnames: hostnames and the annotation "
            f"{DNS_ANNOTATION} say the same; give one of them"
        ),
    ),
    (
        "self.schedule.split(' ').all(f, f.split(',').all(i, !i.contains('-') || "
        "int(i.split('-')[0]) <= int(i.split('-')[1].split('/')[0])))"
    ): (
        pool(payouts={"threshold": 1, "schedule": "0 1,22-6/2 * * *"}),
        (
            "MiningPool/alpha: spec.payouts.schedule: a range of the schedule ends before it "
            "begins; write it as two"
        ),
    ),
    "!has(self.kafka) || !has(self.kafka.bytesMax) || "
    "(has(self.keepBytes) && self.keepBytes < self.kafka.bytesMax)": (
        pool(stream={"kafka": kafka(bytesMax=2**30), "keepBytes": 2**30}),
        (
            "MiningPool/alpha: spec.stream.kafka.bytesMax: the bound would be reached by what was "
            "read already; give stream.keepBytes, below it"
        ),
    ),
    "!has(self.stream.kafka) || self.regions.all(r, !has(r.stream) || "
    "r.stream.kafka.partitions <= self.stream.kafka.partitions)": (
        pool(
            stream={"kafka": kafka(partitions=3)},
            regions=[{"id": "eu"}, {"id": "us", "cluster": "us", "stream": region_stream()}],
        ),
        (
            "MiningPool/alpha: spec.regions[1].stream.kafka.partitions: the region has more "
            "partitions than spec.stream.kafka, and a record keeps its partition; raise the "
            "latter first"
        ),
    ),
    "self.spec.regions.all(r, size(self.metadata.name) + size(r.id) <= 54)": (
        pool("a" * 40, regions=[{"id": "eu"}, {"id": "r" * 15, "state": "Off"}]),
        (
            f"MiningPool/{'a' * 40}: spec.regions[1].id: the names of pool and region hold more "
            "than 54 characters together; objects named after both would not fit"
        ),
    ),
    "size(self.metadata.name) <= 32": (
        put(endpoint(), "metadata.name", "e" * 33),
        (
            f"CoinEndpoint/{'e' * 33}: metadata.name: the name holds more than 32 characters; Jobs "
            "named after it would not fit"
        ),
    ),
    (
        "!has(self.wallet.credentialsSecretRef) || self.nodes.all(n, "
        "n.credentialsSecretRef.name != self.wallet.credentialsSecretRef.name)"
    ): (
        endpoint(
            coin="litecoin",
            nodes=[node()],
            wallet={"credentialsSecretRef": {"name": "rpc"}},
        ),
        (
            "CoinEndpoint/dev: spec.wallet.credentialsSecretRef.name: a node uses this Secret too, "
            "and what nodes use goes to every region; give the wallet a user and a Secret of its "
            "own"
        ),
    ),
}

KEPT = [
    endpoint(devchain={"hashesPerBlock": 2}),
    endpoint(coin="litecoin", nodes=[node(), node(name="b", role="standby")]),
    scheme(pplns={"window": {"weight": "200000"}}),
    pool(schemes=TWO_SCHEMES, defaultScheme="other"),
    pool(schemes=TWO_SCHEMES, defaultScheme="other", listeners=[listener(scheme="pplns")]),
    pool(listeners=[listener(), listener("b", 3334)]),
    pool(listeners=[listener(difficulty={"start": 5, "min": "5", "max": "5.0"})]),
    pool(listeners=[listener(port=9401), listener("b", 9499, host="::1")]),
    pool(payouts={"threshold": 1, "schedule": "*/5 1-6/2,22 1,15 * 0-6"}),
    pool("a" * 40, regions=[{"id": "r" * 14}]),
    pool(regions=[{"id": "eu", "serviceAnnotations": {DNS_ANNOTATION: "eu.example.org"}}]),
    pool(stream={"kafka": kafka(bytesMax=2**30), "keepBytes": 2**30 - 1, "keepHours": 0}),
    pool(
        stream={"kafka": kafka(partitions=4), "onLogOutage": "spool"},
        regions=[{"id": "us", "stream": region_stream()}],
    ),
    put(endpoint(), "metadata.name", "e" * 32),
    endpoint(coin="litecoin", nodes=[node()], wallet={"credentialsSecretRef": {"name": "wallet"}}),
]


def shapes() -> list[type[Shape]]:
    """Every structure of the three kinds."""
    found: list[type[Shape]] = list(KINDS)
    for shape in found:
        for field in shape.model_fields.values():
            inner = shape_of(field) or item_of(field)
            if inner is not None and inner not in found:
                found.append(inner)
    return found


def crd_rules(schema: Any) -> list[dict[str, str]]:
    """Every CEL rule in a CRD, at any depth."""
    if isinstance(schema, dict):
        own: list[dict[str, str]] = schema.get("x-kubernetes-validations", [])
        return own + [rule for value in schema.values() for rule in crd_rules(value)]
    if isinstance(schema, list):
        return [rule for value in schema for rule in crd_rules(value)]
    return []


def test_every_rule_has_a_bad_manifest() -> None:
    assert {rule.cel for shape in shapes() for rule in shape.RULES} == set(BROKEN)


def test_every_rule_reaches_the_api_server() -> None:
    written = {rule["rule"] for kind in KINDS for rule in crd_rules(crd(kind))}
    assert set(BROKEN) <= written


@pytest.mark.parametrize("cel", BROKEN)
def test_broken_rule_is_reported_at_its_place(cel: str) -> None:
    manifest, message = BROKEN[cel]
    others = (pool(), endpoint(), scheme(), secret())
    kept = [each for each in others if each["kind"] != manifest["kind"]]
    assert message in problems(manifest, *kept)


@pytest.mark.parametrize("manifest", KEPT, ids=lambda each: each["kind"])
def test_manifest_that_keeps_the_rules_is_accepted(manifest: dict[str, Any]) -> None:
    kind = next(kind for kind in KINDS if kind.__name__ == manifest["kind"])
    kind.model_validate(manifest, by_alias=True, by_name=False)


def test_all_broken_rules_of_one_structure_are_reported() -> None:
    bad = pool(schemes=TWO_SCHEMES, listeners=[listener(scheme="x"), listener("b")])
    assert len(problems(bad, endpoint(), scheme(), scheme("other"))) == 3


def test_key_of_a_list_is_given_once() -> None:
    bad = pool(regions=[{"id": "eu"}, {"id": "us"}, {"id": "eu"}])
    assert "MiningPool/alpha: spec.regions[2].id: eu appears twice; each id is given once" in (
        problems(bad, endpoint(), scheme())
    )


def test_text_of_a_set_is_given_once() -> None:
    bad = pool(regions=[{"id": "eu", "hostnames": ["a.example.org", "a.example.org"]}])
    assert problems(bad, endpoint(), scheme()) == [
        (
            "MiningPool/alpha: spec.regions[0].hostnames[1]: a.example.org appears twice; "
            "each is given once"
        )
    ]


def test_lists_of_structures_are_keyed() -> None:
    for shape in shapes():
        for field in shape.model_fields.values():
            item = item_of(field)
            if item is not None:
                assert item.LIST_KEY in item.model_fields


def test_models_are_built_by_python_names_and_never_change() -> None:
    bounds = DifficultyBounds(start="2", min="1", max="3")
    with pytest.raises(ValidationError, match="frozen"):
        bounds.start = "9"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Metadata(name="Not Good")
