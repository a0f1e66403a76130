"""From manifests to the settings of pods: files instead of secrets, addresses of Services."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from pithead.config import (
    ClickHouseSettings,
    DrainSettings,
    HealthSettings,
    Settings,
    SlotSettings,
    TlsFiles,
    TopicSettings,
    load,
    store,
)
from pithead.config.cluster import (
    ClusterEdge,
    ClusterPlaces,
    database_url,
    wire_databases,
    wire_schemes,
    wire_topics,
    wire_wallet,
)
from pithead.config.places import RenderError
from pithead.config.render import (
    render_analytics,
    render_edge,
    render_ledger,
    render_payouts,
    render_rewards,
    render_shares,
)
from pithead.manifests import Manifests, parse_manifests
from pithead.manifests.backing import Database

pytestmark = pytest.mark.gate

SCRIPTS = {"ltc": b"\x51", "dvc": b"\x52"}
SLOTS = {
    "mine.gold": (SlotSettings(slot=0, scheme="pplns", revision="a", effective_height=0),),
    "mine.tin": (SlotSettings(slot=0, scheme="pplns", revision="a", effective_height=0),),
}
SECRETS = ("rpc-first", "rpc-spare", "spender", "kafka", "admin", "dev-rpc", "dev-spender")
STREAM = {
    "kafka": {
        "bootstrapServers": ["k1:9093", "k2:9093"],
        "tls": {"caSecretRef": {"name": "kafka-ca"}},
        "credentialsSecretRef": {"name": "kafka"},
        "partitions": 12,
    }
}
DATABASE = {
    "host": "pg.example",
    "name": "pool",
    "adminSecretRef": {"name": "admin"},
    "sslMode": "verify-full",
}


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "pithead.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "mine"},
        "spec": spec,
    }


def pool(name: str, endpoint: str, port: int, **spec: Any) -> dict[str, Any]:
    listener = {
        "name": "main",
        "port": port,
        "host": "127.0.0.1",
        "tls": {"secretRef": {"name": "stratum-tls"}},
        "difficulty": {"start": 16, "min": 1, "max": 65536},
    }
    given = {
        "coinEndpointRef": {"name": endpoint},
        "schemes": [{"name": "pplns"}],
        "listeners": [listener],
        "regions": [{"id": "eu", "cluster": "far"}],
        "payouts": {"threshold": "0.25"},
        "stream": STREAM,
        "database": DATABASE,
        "drain": {"lingerSeconds": 7, "reconnectSeconds": 30},
    }
    kept = {key: value for key, value in (given | spec).items() if value is not None}
    return manifest("MiningPool", name, kept)


def endpoint(name: str, coin: str, network: str, **spec: Any) -> dict[str, Any]:
    return manifest("CoinEndpoint", name, {"coin": coin, "network": network} | spec)


def node(name: str, secret: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "url": f"http://{name}:9332",
        "credentialsSecretRef": {"name": secret},
    } | fields


def read(*changed: dict[str, Any]) -> Manifests:
    """The manifests of two pools, some objects replaced by name."""
    objects = [
        endpoint(
            "ltc",
            "litecoin",
            "mainnet",
            nodes=[node("spare", "rpc-spare", role="standby"), node("first", "rpc-first")],
            wallet={"credentialsSecretRef": {"name": "spender"}},
        ),
        endpoint(
            "dvc",
            "devchain",
            "regtest",
            nodes=[node("dev", "dev-rpc")],
            wallet={"credentialsSecretRef": {"name": "dev-spender"}},
        ),
        manifest(
            "RewardScheme",
            "pplns",
            {"method": "PPLNS", "feePercent": 1, "pplns": {"window": {"weight": 9}}},
        ),
        pool("gold", "ltc", 3333),
        pool("tin", "dvc", 3334),
    ]
    names = {each["metadata"]["name"] for each in changed}
    secrets = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "mine"},
            "stringData": {"username": "u", "password": "p"},
        }
        for name in SECRETS
    ]
    kept = [each for each in objects if each["metadata"]["name"] not in names]
    text = "---\n".join(json.dumps(each) + "\n" for each in [*secrets, *kept, *changed])
    found = parse_manifests(text.encode(), "all.yaml")
    # The operator knows no content of a Secret when it renders.
    return replace(found, credentials={})


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return read()


def edge_of(manifests: Manifests) -> ClusterEdge:
    pool = manifests.pools[0]
    return ClusterEdge(manifests, pool, pool.spec.regions[0], secret="gold-eu-stratum")


def everything(manifests: Manifests) -> list[Settings]:
    places = ClusterPlaces(manifests)
    return [
        render_ledger(places),
        render_payouts(manifests, places, "ltc"),
        render_rewards(manifests, places, SCRIPTS),
        render_shares(manifests, places, SCRIPTS, SLOTS),
        render_edge(manifests, manifests.pools[0], "eu", edge_of(manifests), SCRIPTS, SLOTS),
        wire_databases(manifests, dict.fromkeys(("ledger", "payouts", "rewards", "shares"), "r")),
        wire_topics(manifests),
        wire_wallet(manifests, "ltc"),
        wire_schemes(manifests),
    ]


def files(value: object) -> Iterator[str]:
    """Files that stand for texts in JSON."""
    if isinstance(value, dict):
        for each in value.values():
            yield from files(each)
    elif isinstance(value, list):
        for each in value:
            yield from files(each)
    elif isinstance(value, str) and value.startswith("fromFile:"):
        yield value.removeprefix("fromFile:")


def test_rendering_is_a_pure_function(manifests: Manifests) -> None:
    assert everything(manifests) == everything(read())


def test_every_secret_is_a_file_that_a_process_can_read(
    manifests: Manifests, tmp_path: Path
) -> None:
    for index, settings in enumerate(everything(manifests)):
        path = tmp_path / f"{index}.json"
        store(path, settings)
        named = sorted(set(files(json.loads(path.read_bytes()))))
        assert all(name.startswith("/run/pithead/") for name in named)
        text = path.read_text()
        for name in named:
            mounted = tmp_path / name.removeprefix("/")
            mounted.parent.mkdir(parents=True, exist_ok=True)
            mounted.write_text("content")
            text = text.replace(f'fromFile:{name}"', f'fromFile:{mounted}"')
        path.write_text(text)
        assert "fromFile" not in str(load(path, type(settings)))


def test_services_call_one_another_by_their_own_certificates(manifests: Manifests) -> None:
    places = ClusterPlaces(manifests)
    rewards = render_rewards(manifests, places, SCRIPTS)
    folder = Path("/run/pithead/pithead-tls")
    own = TlsFiles(
        certificate=folder / "rewards.crt", key=folder / "rewards.key", ca=folder / "ca.crt"
    )
    assert rewards.serve.tls == own
    assert rewards.ledger.tls == own
    assert rewards.ledger.address == "pithead-ledger.mine.svc:9500"
    assert rewards.health == HealthSettings()
    schemes = wire_schemes(manifests)
    assert schemes.rewards.address == "pithead-rewards.mine.svc:9500"
    assert schemes.rewards.tls is not None
    assert schemes.rewards.tls.certificate == folder / "wiring.crt"


def test_who_pays_reaches_the_wallet_and_nobody_else_does(manifests: Manifests) -> None:
    places = ClusterPlaces(manifests)
    payouts = render_payouts(manifests, places, "ltc")
    assert [(each.name, each.user) for each in payouts.coins[0].nodes] == [
        ("first", "fromFile:/run/pithead/spender/username")
    ]
    assert wire_wallet(manifests, "ltc").coin == payouts.coins[0]
    assert wire_wallet(manifests, "ltc").database == payouts.database
    for settings in everything(manifests):
        if type(settings).__name__ not in ("PayoutsSettings", "WireWalletSettings"):
            assert "spender" not in str(settings)


def test_a_run_of_payouts_sees_one_coin_alone(manifests: Manifests) -> None:
    payouts = render_payouts(manifests, ClusterPlaces(manifests), "dvc")
    assert [each.name for each in payouts.coins] == ["dvc"]
    assert [each.coin for each in payouts.policies] == ["dvc"]
    with pytest.raises(RenderError, match="no pool uses CoinEndpoint btc"):
        render_payouts(manifests, ClusterPlaces(manifests), "btc")


def test_edge_reads_its_own_secret_alone(manifests: Manifests) -> None:
    edge = render_edge(manifests, manifests.pools[0], "eu", edge_of(manifests), SCRIPTS, SLOTS)
    own = "/run/pithead/gold-eu-stratum"
    assert [(each.name, each.password) for each in edge.coin.nodes] == [
        ("first", f"fromFile:{own}/node-first-password"),
        ("spare", f"fromFile:{own}/node-spare-password"),
    ]
    assert edge.log.kafka is not None
    assert edge.log.kafka.ca == Path(own) / "kafka-ca.crt"
    assert edge.log.kafka.username == f"fromFile:{own}/kafka-username"
    assert edge.partition == ""
    assert edge.drain == DrainSettings(linger_ms=7000, reconnect_ms=30_000)
    (listener,) = edge.listeners
    assert listener.host == "0.0.0.0", "the manifest's host is of one machine"
    assert listener.tls == TlsFiles(
        certificate=Path("/run/pithead/stratum-tls/tls.crt"),
        key=Path("/run/pithead/stratum-tls/tls.key"),
    )
    assert edge.report is not None
    assert (edge.report.namespace, edge.report.config_map) == ("mine", "pithead-edge-status")
    assert edge.report.key == "fromFile:/run/pithead/pod/name"


def test_hub_reads_the_secrets_that_manifests_name(manifests: Manifests) -> None:
    shares = render_shares(manifests, ClusterPlaces(manifests), SCRIPTS, SLOTS)
    assert shares.database == "fromFile:/run/pithead/pithead-roles/shares-url"
    assert shares.log.kafka is not None
    assert shares.log.kafka.bootstrap_servers == ("k1:9093", "k2:9093")
    assert shares.log.kafka.ca == Path("/run/pithead/kafka-ca/ca.crt")
    assert shares.log.kafka.password == "fromFile:/run/pithead/kafka/password"


def test_analytics_reads_clickhouse_by_its_own_secret_and_only_when_asked_for(
    manifests: Manifests,
) -> None:
    assert render_analytics(manifests, ClusterPlaces(manifests)) is None
    said = {
        "host": "ch.mine.svc",
        "database": "charts",
        "credentialsSecretRef": {"name": "admin"},
        "sslMode": "verify-full",
        "rawRetentionDays": 20,
    }
    asked = read(
        pool("gold", "ltc", 3333, analytics=said), pool("tin", "dvc", 3334, analytics=said)
    )
    charts = render_analytics(asked, ClusterPlaces(asked))
    assert charts is not None
    assert charts.store.clickhouse == ClickHouseSettings(
        host="ch.mine.svc",
        port=9440,
        database="charts",
        user="fromFile:/run/pithead/admin/username",
        password="fromFile:/run/pithead/admin/password",
        tls=True,
        ca=Path("/etc/ssl/certs/ca-certificates.crt"),
    )
    assert charts.database == "fromFile:/run/pithead/pithead-roles/shares-url"
    assert charts.retention_days == 20
    assert charts.nice == 0
    assert "rpc" not in str(charts)


def test_each_pool_has_two_topics(manifests: Manifests) -> None:
    assert wire_topics(manifests).topics == (
        TopicSettings(name="pithead.shares.mine.gold", partitions=12, replicas=3),
        TopicSettings(name="pithead.blocks.mine.gold", partitions=1, replicas=3),
        TopicSettings(name="pithead.shares.mine.tin", partitions=12, replicas=3),
        TopicSettings(name="pithead.blocks.mine.tin", partitions=1, replicas=3),
    )


def test_kafka_without_authority_or_login_is_reached_so() -> None:
    bare = {"kafka": {"bootstrapServers": ["k:9092"]}}
    public = {"kafka": {"bootstrapServers": ["k:9093"], "tls": {}}}
    for stream, ca in ((bare, None), (public, Path("/etc/ssl/certs/ca-certificates.crt"))):
        found = read(
            pool("gold", "ltc", 3333, stream=stream), pool("tin", "dvc", 3334, stream=stream)
        )
        for log in (ClusterPlaces(found).share_log(), edge_of(found).share_log()):
            assert log.kafka is not None
            assert (log.kafka.ca, log.kafka.username, log.kafka.password) == (ca, "", "")


def test_admin_of_the_database_stays_in_files(manifests: Manifests) -> None:
    services = ("ledger", "payouts", "rewards", "shares")
    wired = wire_databases(manifests, {each: f"pool_{each}" for each in services})
    assert wired.username == "fromFile:/run/pithead/admin/username"
    assert make_url(wired.admin_url).username is None
    assert [(each.service, each.username) for each in wired.services] == [
        (each, f"pool_{each}") for each in services
    ]
    assert wired.services[0].password == "fromFile:/run/pithead/pithead-roles/ledger-password"


def test_database_url_holds_any_password_and_host() -> None:
    database = Database.model_validate(DATABASE | {"host": "fd00::5", "port": 6432})
    url = make_url(database_url(database, "pool_ledger", "p@ss/w:rd %"))
    assert (url.username, url.password) == ("pool_ledger", "p@ss/w:rd %")
    assert (url.host, url.port, url.database) == ("fd00::5", 6432, "pool")
    assert url.query == {
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ssl/certs/ca-certificates.crt",
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            [endpoint("ltc", "litecoin", "mainnet", nodes=[node("first", "rpc-first")])],
            r"CoinEndpoint ltc: spec\.wallet\.credentialsSecretRef is missing",
        ),
        ([endpoint("dvc", "devchain", "regtest")], r"CoinEndpoint dvc: spec\.nodes is empty"),
        (
            [pool("gold", "ltc", 3333, stream=None), pool("tin", "dvc", 3334, stream=None)],
            r"MiningPool gold: spec\.stream\.kafka is missing",
        ),
        (
            [pool("gold", "ltc", 3333, database=None), pool("tin", "dvc", 3334, database=None)],
            r"MiningPool gold: spec\.database is missing",
        ),
    ],
    ids=["wallet", "nodes", "kafka", "database"],
)
def test_what_a_cluster_needs_and_one_machine_does_not_is_named(
    changed: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(RenderError, match=message):
        everything(read(*changed))
