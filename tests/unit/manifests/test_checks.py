"""What only all objects together can show."""

from typing import Any

import pytest

from pithead.manifests.checks import coins_text
from tests.unit.manifests.samples import (
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

LITECOIN = endpoint(coin="litecoin", nodes=[node()])


def second(**spec: Any) -> dict[str, Any]:
    """Another pool with a port of its own."""
    return pool("beta", **({"listeners": [listener(port=3334)]} | spec))


CASES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "one pool": ([pool(), endpoint(), scheme()], []),
    "two pools on one endpoint": ([pool(), second(), endpoint(), scheme()], []),
    "no pool": (
        [endpoint(), scheme()],
        ["no MiningPool is given; at least one is needed beside the other kinds"],
    ),
    "no endpoint": (
        [pool(), scheme()],
        [
            (
                "MiningPool/alpha: spec.coinEndpointRef.name: there is no CoinEndpoint dev; add "
                "it to "
                "the manifests or name one of them: none"
            )
        ],
    ),
    "no such scheme": (
        [
            pool(schemes=[{"name": "pplns"}, {"name": "gone"}], defaultScheme="pplns"),
            endpoint(),
            scheme(),
        ],
        [
            (
                "MiningPool/alpha: spec.schemes[1].name: there is no RewardScheme gone; add it "
                "to the "
                "manifests or name one of them: pplns"
            )
        ],
    ),
    "name twice": (
        [pool(), endpoint(), scheme(), scheme()],
        [
            (
                "RewardScheme/pplns: metadata.name: pplns is given twice; the first is "
                "pool.yaml:30; "
                "give each its own name"
            )
        ],
    ),
    "two namespaces": (
        [pool(), endpoint(), put(scheme(), "metadata.namespace", "other")],
        [
            (
                "RewardScheme/pplns: metadata.namespace: other differs from default of "
                "MiningPool/alpha; one machine runs one namespace"
            )
        ],
    ),
    "unknown coin": (
        [pool(), endpoint(coin="dogecoin", nodes=[node()]), scheme(), secret()],
        [
            (
                "CoinEndpoint/dev: spec.coin: dogecoin is not known; expected one of bitcoin, "
                "devchain, litecoin"
            )
        ],
    ),
    "unknown network": (
        [pool(), endpoint(network="mainnet"), scheme()],
        ["CoinEndpoint/dev: spec.network: mainnet is not known; expected one of regtest"],
    ),
    "one chain twice": (
        [
            pool(),
            endpoint(),
            put(endpoint(devchain={"rpcPort": 5}), "metadata.name", "b"),
            scheme(),
        ],
        [
            (
                "CoinEndpoint/b: spec.network: devchain/regtest is already CoinEndpoint/dev "
                "(pool.yaml:22); one wallet pays a chain: put all its nodes into one CoinEndpoint"
            )
        ],
    ),
    "no Secret": (
        [pool(), LITECOIN, scheme()],
        [
            (
                "CoinEndpoint/dev: spec.nodes[0].credentialsSecretRef.name: there is no Secret "
                "rpc; "
                "add it to the manifests or name one of them: none"
            )
        ],
    ),
    "Secret without a key": (
        [pool(), LITECOIN, scheme(), secret(username="user", pass_word="x")],
        [
            (
                "CoinEndpoint/dev: spec.nodes[0].credentialsSecretRef.name: Secret rpc has no key "
                "password; expected username and password"
            )
        ],
    ),
    "two active regions": (
        [pool(regions=[{"id": "eu"}, {"id": "us"}]), endpoint(), scheme()],
        [
            (
                "MiningPool/alpha: spec.regions[1].state: us is Active beside eu; one machine runs "
                'one region of a pool: give the others state "Off"'
            )
        ],
    ),
    "regions of other clusters": (
        [
            pool(
                regions=[
                    {"id": "eu"},
                    {"id": "us", "cluster": "us"},
                    {"id": "asia", "state": "Drain"},
                ]
            ),
            endpoint(),
            scheme(),
        ],
        [],
    ),
    "one port, one pool elsewhere": (
        [
            pool(),
            second(listeners=[listener()], regions=[{"id": "us", "cluster": "us"}]),
            endpoint(),
            scheme(),
        ],
        [],
    ),
    "regions that are off": (
        [pool(regions=[{"id": "eu", "state": "Off"}, {"id": "us"}]), endpoint(), scheme()],
        [],
    ),
    "one port in two pools": (
        [pool(), second(listeners=[listener()]), endpoint(), scheme()],
        [
            (
                "MiningPool/beta: spec.listeners[0].port: port 3333 is taken by MiningPool/alpha "
                "(pool.yaml:1); give each its own"
            )
        ],
    ),
    "one port on two addresses": (
        [
            pool(listeners=[listener(host="127.0.0.1")]),
            second(listeners=[listener(host="127.0.0.2")]),
            endpoint(),
            scheme(),
        ],
        [],
    ),
    "one port, one pool off": (
        [
            pool(),
            second(listeners=[listener()], regions=[{"id": "eu", "state": "Off"}]),
            endpoint(),
            scheme(),
        ],
        [],
    ),
    "port of the built-in node": (
        [pool(listeners=[listener(port=19443)]), endpoint(), scheme()],
        [
            (
                "MiningPool/alpha: spec.listeners[0].port: port 19443 is taken by CoinEndpoint/dev "
                "(pool.yaml:22); give each its own"
            )
        ],
    ),
    "one poolId twice": (
        [pool(), second(poolId="default.alpha"), endpoint(), scheme()],
        [
            (
                "MiningPool/beta: spec.poolId: default.alpha is the poolId of MiningPool/alpha "
                "(pool.yaml:1) too; each pool has books of its own: give another"
            )
        ],
    ),
    "payouts that differ": (
        [pool(), second(payouts={"threshold": 2, "paused": True}), endpoint(), scheme()],
        [
            f"MiningPool/beta: spec.payouts.{field}: {ours} differs from {theirs} of "
            "MiningPool/alpha (pool.yaml:1); payouts belong to the wallet of CoinEndpoint dev: "
            "give its pools the same"
            for field, ours, theirs in (("threshold", '"2"', '"0.01"'), ("paused", "true", "false"))
        ],
    ),
    "threshold below dust": (
        [pool(payouts={"threshold": "0.00000545"}), endpoint(), scheme()],
        [
            (
                "MiningPool/alpha: spec.payouts.threshold: 0.00000545 DVC is below what nodes "
                "relay; "
                "expected at least 546 base units, 0.00000546"
            )
        ],
    ),
    "threshold of dust": ([pool(payouts={"threshold": "0.00000546"}), endpoint(), scheme()], []),
    "threshold with too many places": (
        [pool(payouts={"threshold": "1.000000001"}), endpoint(), scheme()],
        [
            (
                "MiningPool/alpha: spec.payouts.threshold: 1.000000001 has more than 8 decimal "
                "places, all that DVC has; cut the rest"
            )
        ],
    ),
    "difficulty beyond weight": (
        [put(pool(), "spec.listeners.0.difficulty.max", 10**17), endpoint(), scheme()],
        [
            (
                "MiningPool/alpha: spec.listeners[0].difficulty.max: 100000000000000000 is too "
                "hard "
                "for devchain/regtest; expected one whose share holds at most 2^53 units of weight "
                "(of 2^0 hashes each)"
            )
        ],
    ),
    "foreign annotation of ours": (
        [
            put(pool(), "metadata.annotations", {"pithead.dev/demo": "1", "team": "x"}),
            endpoint(),
            scheme(),
        ],
        [
            (
                "MiningPool/alpha: metadata.annotations[pithead.dev/demo]: is not an annotation of "
                "Pithead; expected pithead.dev/demo-miners or none"
            )
        ],
    ),
    "demo miners": (
        [
            put(pool(), "metadata.annotations", {"pithead.dev/demo-miners": "fast"}),
            endpoint(),
            scheme(),
        ],
        [
            (
                "MiningPool/alpha: metadata.annotations[pithead.dev/demo-miners]: expected "
                "hashes per "
                "second of each demo miner, numbers above zero with commas between, such as "
                '"16000, '
                '8000, 0.5"'
            )
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_objects_together(case: str) -> None:
    objects, expected = CASES[case]
    assert problems(*objects) == expected


@pytest.mark.parametrize(
    ("amount", "text"),
    [(546, "0.00000546"), (100_000_000, "1"), (150_000_000, "1.5"), (0, "0"), (10**9, "10")],
    ids=str,
)
def test_base_units_are_shown_as_coins(amount: int, text: str) -> None:
    assert coins_text(amount, 8) == text
