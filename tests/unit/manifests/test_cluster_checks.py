"""What only all objects of a namespace can show in a cluster."""

from typing import Any

import pytest

from pithead.manifests import check_hubs, claim_of, manifests_from_objects
from tests.unit.manifests.samples import (
    Object,
    analytics,
    database,
    endpoint,
    kafka,
    node,
    pool,
    put,
    region_stream,
    scheme,
)
from tests.unit.manifests.served import SECRETS, served_secret

pytestmark = pytest.mark.gate

URL = "http://litecoind.example.org:9332"


def coin(**spec: Any) -> Object:
    """A CoinEndpoint fit for a cluster."""
    fit = {
        "coin": "litecoin",
        "network": "regtest",
        "nodes": [node(url=URL)],
        "wallet": {"credentialsSecretRef": {"name": "wallet"}},
    }
    return endpoint(**(fit | spec))


def hub(name: str = "alpha", **spec: Any) -> Object:
    """A pool fit for a cluster."""
    return pool(name, **({"stream": {"kafka": kafka()}, "database": database()} | spec))


def without(name: str) -> list[Object]:
    """All Secrets but one."""
    return [each for each in SECRETS if each["metadata"]["name"] != name]


def changed(name: str, **values: Any) -> list[Object]:
    """All Secrets, one with these texts instead."""
    return [*without(name), served_secret(name, **values)]


Case = tuple[list[Object], list[Object], list[str]]

CASES: dict[str, Case] = {
    "a fit pool": ([hub(), coin(), scheme()], SECRETS, []),
    "two fit pools": ([hub(), hub("beta"), coin(), scheme()], SECRETS, []),
    "no Kafka, no database": (
        [pool(), coin(), scheme()],
        SECRETS,
        [
            (
                "MiningPool/alpha: spec.stream.kafka: is missing; in a cluster shares go through "
                "Kafka"
            ),
            (
                "MiningPool/alpha: spec.database: is missing; in a cluster the hub keeps its books "
                "in PostgreSQL"
            ),
        ],
    ),
    "addresses of the pod": (
        [
            hub(
                stream={"kafka": kafka(bootstrapServers=["kafka:1", "[::1]:9092"])},
                database=database(host="127.0.0.1"),
            ),
            coin(nodes=[node(url="http://localhost:19332")]),
            scheme(),
        ],
        SECRETS,
        [
            (
                "CoinEndpoint/dev: spec.nodes[0].url: http://localhost:19332 is the pod itself; "
                "expected an address that pods of the cluster reach"
            ),
            (
                "MiningPool/alpha: spec.stream.kafka.bootstrapServers[1]: [::1]:9092 is the pod "
                "itself; expected an address that pods of the cluster reach"
            ),
            (
                "MiningPool/alpha: spec.database.host: 127.0.0.1 is the pod itself; expected an "
                "address that pods of the cluster reach"
            ),
            (
                "MiningPool/alpha: spec.coinEndpointRef.name: CoinEndpoint/dev has a problem of "
                "its own; its status says which"
            ),
        ],
    ),
    "built-in node": (
        [hub(), endpoint(), scheme()],
        SECRETS,
        [
            (
                "CoinEndpoint/dev: spec.nodes: no node is given; the built-in one runs on one "
                "machine only"
            ),
            (
                "MiningPool/alpha: spec.coinEndpointRef.name: CoinEndpoint/dev has a problem of "
                "its own; its status says which"
            ),
        ],
    ),
    "wallet without a user": (
        [coin(wallet={})],
        SECRETS,
        [
            (
                "CoinEndpoint/dev: spec.wallet.credentialsSecretRef: is missing; the users of "
                "nodes go to every region and must not spend: give the wallet one of its own"
            )
        ],
    ),
    "wallet with the user of a node": (
        [coin()],
        changed("wallet", username="edge", password="other"),
        [
            (
                "CoinEndpoint/dev: spec.wallet.credentialsSecretRef.name: Secret wallet names the "
                "user of node main, which goes to every region and must not spend; give the wallet "
                "a user of its own"
            )
        ],
    ),
    "no Secrets": (
        [hub(), coin(), scheme()],
        [],
        [
            *(
                f"CoinEndpoint/dev: spec.{path}.credentialsSecretRef.name: there is no Secret "
                f"{name} in namespace default; create it with username and password"
                for path, name in (("nodes[0]", "rpc"), ("wallet", "wallet"))
            ),
            (
                "MiningPool/alpha: spec.stream.kafka.credentialsSecretRef.name: there is no Secret "
                "kafka in namespace default; create it with username and password"
            ),
            (
                "MiningPool/alpha: spec.stream.kafka.tls.caSecretRef.name: there is no Secret "
                "kafka-ca in namespace default; create it with ca.crt"
            ),
            (
                "MiningPool/alpha: spec.database.adminSecretRef.name: there is no Secret postgres "
                "in namespace default; create it with username and password"
            ),
            (
                "MiningPool/alpha: spec.coinEndpointRef.name: CoinEndpoint/dev has a problem of "
                "its own; its status says which"
            ),
        ],
    ),
    "Secret without a key": (
        [coin()],
        changed("rpc", username="edge"),
        [
            (
                "CoinEndpoint/dev: spec.nodes[0].credentialsSecretRef.name: Secret rpc has no text "
                "under password; expected username and password"
            )
        ],
    ),
    "Secret with a value of two lines": (
        [coin()],
        changed("rpc", username="edge", password="hidden\nword"),
        [
            (
                "CoinEndpoint/dev: spec.nodes[0].credentialsSecretRef.name: password of Secret rpc "
                "is not allowed; expected 1 to 1024 printable characters in one line"
            )
        ],
    ),
    "Secret that looks like a file": (
        [coin()],
        changed("rpc", username="edge", password="fromFile:/etc/shadow"),
        [
            (
                "CoinEndpoint/dev: spec.nodes[0].credentialsSecretRef.name: password of Secret rpc "
                "begins with fromFile:, which settings would take for a file; give another"
            )
        ],
    ),
    "node's user with a colon": (
        [coin()],
        changed("rpc", username="ed:ge", password="word"),
        [
            (
                "CoinEndpoint/dev: spec.nodes[0].credentialsSecretRef.name: username of Secret rpc "
                "holds a colon, which HTTP basic authentication does not allow; give another"
            )
        ],
    ),
    "database's user with a colon": (
        [hub(), coin(), scheme()],
        changed("postgres", username="ad:min", password="word"),
        [],
    ),
    "authority that is none": (
        [hub(), coin(), scheme()],
        [*without("kafka-ca"), served_secret("kafka-ca", **{"ca.crt": "hello"})],
        [
            (
                "MiningPool/alpha: spec.stream.kafka.tls.caSecretRef.name: ca.crt of Secret "
                "kafka-ca is no certificate; expected one or more in PEM"
            )
        ],
    ),
    "another Kafka, another database": (
        [
            hub(),
            hub(
                "beta",
                stream={"kafka": kafka(partitions=9, replicas=1)},
                database=database(host="other.example.org"),
            ),
            coin(),
            scheme(),
        ],
        SECRETS,
        [
            f"MiningPool/beta: spec.{path}: differs from that of MiningPool/alpha; the pools of a "
            f"namespace share one {what}: give the same, or use another namespace"
            for path, what in (
                ("stream.kafka.partitions", "stream"),
                ("stream.kafka.replicas", "stream"),
                ("database.host", "database"),
            )
        ],
    ),
    "a relayed region and analytics": (
        [
            hub(regions=[{"id": "us", "cluster": "us", "stream": region_stream()}],
                analytics=analytics()),
            coin(),
            scheme(),
        ],
        SECRETS,
        [],
    ),
    "Secrets of a region's Kafka and of ClickHouse": (
        [
            hub(regions=[{"id": "eu"}, {"id": "us", "stream": region_stream()}],
                analytics=analytics()),
            coin(),
            scheme(),
        ],
        [
            each
            for each in SECRETS
            if each["metadata"]["name"] not in ("region-kafka", "region-relay", "clickhouse")
        ],
        [
            f"MiningPool/alpha: spec.{path}.name: there is no Secret {name} in namespace default; "
            "create it with username and password"
            for path, name in (
                ("regions[1].stream.kafka.credentialsSecretRef", "region-kafka"),
                ("regions[1].stream.relayCredentialsSecretRef", "region-relay"),
                ("analytics.credentialsSecretRef", "clickhouse"),
            )
        ],
    ),
    "addresses of the pod in a region's Kafka and ClickHouse": (
        [
            hub(
                regions=[
                    {
                        "id": "us",
                        "stream": {"kafka": kafka(bootstrapServers=["localhost:9092"])},
                    }
                ],
                analytics=analytics(host="127.0.0.1"),
            ),
            coin(),
            scheme(),
        ],
        SECRETS,
        [
            f"MiningPool/alpha: spec.{path} is the pod itself; expected an address that pods of "
            "the cluster reach"
            for path in (
                "regions[0].stream.kafka.bootstrapServers[0]: localhost:9092",
                "analytics.host: 127.0.0.1",
            )
        ],
    ),
    "another ClickHouse, another door for relays": (
        [
            hub(analytics=analytics()),
            hub("beta", relay={"hostnames": ["hub.example.org"]}),
            coin(),
            scheme(),
        ],
        SECRETS,
        [
            f"MiningPool/beta: spec.{path}: differs from that of MiningPool/alpha; the pools of a "
            f"namespace share one {what}: give the same, or use another namespace"
            for path, what in (("analytics", "analytics"), ("relay.hostnames", "relay"))
        ],
    ),
    "a pool without Kafka is nobody's measure": (
        [hub("aaa", stream={}), hub("beta"), coin(), scheme()],
        SECRETS,
        ["MiningPool/aaa: spec.stream.kafka: is missing; in a cluster shares go through Kafka"],
    ),
    "names that run together": (
        [
            hub("a", regions=[{"id": "b-c"}]),
            hub("a-b", regions=[{"id": "c"}, {"id": "d"}]),
            coin(),
            scheme(),
        ],
        SECRETS,
        [
            (
                "MiningPool/a-b: spec.regions[0].id: the objects of MiningPool/a begin with a-b-c "
                "too; give the pool or the region another name"
            )
        ],
    ),
    "the hub's name": (
        [hub("pithead", regions=[{"id": "hub"}]), coin(), scheme()],
        SECRETS,
        [
            (
                "MiningPool/pithead: spec.regions[0].id: the objects of the hub begin with "
                "pithead-hub too; give the pool or the region another name"
            )
        ],
    ),
    "payouts that differ": (
        [hub(), hub("beta", payouts={"threshold": "0.01", "schedule": "5 * * * *"}), coin(),
         scheme()],
        SECRETS,
        [
            (
                'MiningPool/beta: spec.payouts.schedule: "5 * * * *" differs from "0 * * * *" of '
                "MiningPool/alpha; payouts belong to the wallet of CoinEndpoint dev: give its "
                "pools the same"
            )
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_objects_of_a_namespace_together(case: str) -> None:
    objects, secrets, expected = CASES[case]
    found = manifests_from_objects("default", objects, secrets)
    assert [str(each) for problems in found.problems.values() for each in problems] == expected


def test_owner_label_fits() -> None:
    objects = [put(hub("p" * 40), "metadata.namespace", "n" * 23), coin(), scheme()]
    (problem,) = manifests_from_objects("n" * 23, objects, SECRETS).problems[
        f"MiningPool/{'p' * 40}"
    ]
    assert problem.path == "metadata.name"
    fits = put(hub("p" * 40), "metadata.namespace", "n" * 22)
    assert not manifests_from_objects("n" * 22, [fits, coin(), scheme()], SECRETS).problems


@pytest.mark.parametrize(
    ("objects", "secrets", "reason"),
    [
        ([coin()], without("rpc"), "SecretMissing"),
        ([hub(), scheme()], SECRETS, "ReferenceMissing"),
        ([coin()], changed("wallet", username="edge", password="x"), "Conflict"),
        ([coin(wallet={})], SECRETS, "Invalid"),
    ],
    ids=["Secret", "reference", "user", "field"],
)
def test_problem_has_a_reason_for_its_condition(
    objects: list[Object], secrets: list[Object], reason: str
) -> None:
    found = manifests_from_objects("default", objects, secrets)
    assert {each.reason for problems in found.problems.values() for each in problems} == {reason}


def test_values_of_secrets_are_never_shown() -> None:
    secrets = changed("rpc", username="edge", password="hidden\nword")
    found = manifests_from_objects("default", [hub(), coin(), scheme()], secrets)
    assert "hidden" not in repr(found)


def claim(namespace: str, since: str, name: str = "alpha", **spec: Any) -> Any:
    item = put(hub(name, **spec), "metadata.namespace", namespace)
    return claim_of(put(item, "metadata.creationTimestamp", f"{since}-01-01T00:00:00Z"))


def test_books_of_two_namespaces_are_never_shared() -> None:
    first = claim("one", "2025", poolId="books")
    same = check_hubs("two", [claim("two", "2026", poolId="books"), first])
    assert [(each.object, each.path, each.reason) for each in same] == [
        ("MiningPool/alpha", "spec.poolId", "Conflict"),
        ("MiningPool/alpha", "spec.database.name", "Conflict"),
    ]
    other = claim("two", "2026", database=database(name="second"))
    assert check_hubs("two", [first, other]) == []


def test_a_new_pool_takes_no_books_over_however_old_its_neighbours_are() -> None:
    elsewhere = database(name="second")
    claims = [
        claim("old", "2020", "first", database=elsewhere),
        claim("old", "2026", "thief", poolId="ours.alpha", database=elsewhere),
        claim("ours", "2025"),
        claim("ours", "2027", "beta"),
    ]
    assert check_hubs("ours", claims) == []
    assert [each.object for each in check_hubs("old", claims)] == ["MiningPool/thief"]
    # The youngest pool has the database that its namespace had first.
    claims.append(claim("late", "2026", database=database(host="Postgres.Example.org")))
    assert check_hubs("ours", claims) == []
    assert [each.path for each in check_hubs("late", claims)] == ["spec.database.name"]


def test_claims_are_read_from_whatever_was_written() -> None:
    found = claim_of({"metadata": {"namespace": "n", "name": "p"}, "spec": {"database": "x"}})
    assert (found.pool_id, found.database) == ("n.p", None)


def second(user: str, *, wallet: str) -> Object:
    """Another coin, its node and its wallet dialled by these Secrets."""
    item = coin(
        coin="bitcoin",
        nodes=[node(url=URL, credentialsSecretRef={"name": user})],
        wallet={"credentialsSecretRef": {"name": wallet}},
    )
    return put(item, "metadata.name", "second")


OTHER = served_secret("other", username="else", password="fifth")


@pytest.mark.parametrize(
    ("objects", "secrets", "told"),
    [
        (
            [coin(), second("wallet", wallet="other")],
            [*SECRETS, OTHER],
            ("CoinEndpoint/second", "spec.nodes[0].credentialsSecretRef.name"),
        ),
        (
            [coin(), second("other", wallet="rpc")],
            [*SECRETS, OTHER],
            ("CoinEndpoint/second", "spec.wallet.credentialsSecretRef.name"),
        ),
        (
            [coin(), second("other", wallet="kafka")],
            [*SECRETS, served_secret("other", username="wallet", password="second")],
            ("CoinEndpoint/second", "spec.nodes[0].credentialsSecretRef.name"),
        ),
        (
            [hub(stream={"kafka": kafka(credentialsSecretRef={"name": "postgres"})}), coin(),
             scheme()],
            SECRETS,
            ("MiningPool/alpha", "spec.stream.kafka.credentialsSecretRef.name"),
        ),
        (
            [hub(stream={"kafka": kafka(credentialsSecretRef={"name": "wallet"})}), coin(),
             scheme()],
            SECRETS,
            ("MiningPool/alpha", "spec.stream.kafka.credentialsSecretRef.name"),
        ),
        (
            [hub(regions=[{"id": "us", "stream": region_stream(
                relayCredentialsSecretRef={"name": "wallet"})}]), coin(), scheme()],
            SECRETS,
            ("MiningPool/alpha", "spec.regions[0].stream.relayCredentialsSecretRef.name"),
        ),
        (
            [hub(analytics=analytics(credentialsSecretRef={"name": "kafka"})), coin(), scheme()],
            SECRETS,
            ("MiningPool/alpha", "spec.stream.kafka.credentialsSecretRef.name"),
        ),
        (
            [hub(database=database(adminSecretRef={"name": "rpc"})), coin(), scheme()],
            SECRETS,
            ("MiningPool/alpha", "spec.database.adminSecretRef.name"),
        ),
    ],
    ids=["wallet as node", "node as wallet", "same texts", "admin as Kafka", "wallet as Kafka",
         "wallet as relay", "ClickHouse as Kafka", "node as admin"],
)  # fmt: skip
def test_no_login_that_spends_or_owns_the_books_goes_to_regions(
    objects: list[Object], secrets: list[Object], told: tuple[str, str]
) -> None:
    found = manifests_from_objects("default", objects, secrets)
    problems = [each for problems in found.problems.values() for each in problems]
    assert [(each.object, each.path, each.reason) for each in problems] == [(*told, "Conflict")]
