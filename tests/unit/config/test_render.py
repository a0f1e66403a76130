"""From manifests to settings: values, units, phases, and what is missing."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pithead.coins.registry import chain_params
from pithead.coins.weight import bits_to_target, expected_hashes, weight_of_difficulty
from pithead.config import (
    AnalyticsSettings,
    LimitSettings,
    PayoutPolicy,
    PoolRegistration,
    SchemeRegistration,
    Settings,
    SlotSettings,
    VardiffSettings,
    from_json,
    to_json,
)
from pithead.config.one_machine import DemoMiners, demo_miners, render_edges, render_hub
from pithead.config.paths import RuntimePaths
from pithead.config.places import RenderError
from pithead.config.render import render_analytics, render_rewards, render_shares
from pithead.manifests import Manifests, load_manifests, parse_manifests
from pithead.manifests.objects import Credentials
from tests.support.doors import peer_of

pytestmark = pytest.mark.gate

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "node-password"
PATHS = RuntimePaths(
    databases=Path("/d/db"),
    log=Path("/d/log"),
    node=Path("/d/node"),
    run=Path("/d/run"),
    credentials={"rpc": Credentials("rpc-user", "rpc-password")},
    built_in_password=PASSWORD,
)
SCRIPT = bytes.fromhex("0014" + "11" * 20)
BASE = "pithead.dev/v1alpha1"


def manifest(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": BASE,
        "kind": kind,
        "metadata": {"name": name} | metadata,
        "spec": spec,
    }


def pplns(name: str, **window: Any) -> dict[str, Any]:
    spec = {"method": "PPLNS", "feePercent": "1.5", "pplns": {"window": window}}
    return manifest("RewardScheme", name, spec)


def pool(name: str, endpoint: str, port: int, **spec: Any) -> dict[str, Any]:
    bounds = {"start": 16, "min": "0.001", "max": 65536}
    return manifest(
        "MiningPool",
        name,
        {
            "coinEndpointRef": {"name": endpoint},
            "schemes": [{"name": "near"}],
            "listeners": [{"name": "main", "port": port, "difficulty": bounds}],
            "regions": [{"id": "eu"}],
            "payouts": {"threshold": "0.25"},
        }
        | spec,
    )


def node(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "url": f"http://{name}:9332",
        "credentialsSecretRef": {"name": "rpc"},
    } | fields


OBJECTS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "rpc"},
        "stringData": {"username": "rpc-user", "password": "rpc-password"},
    },
    manifest("CoinEndpoint", "dev", {"coin": "devchain", "network": "regtest"}),
    manifest(
        "CoinEndpoint",
        "ltc",
        {
            "coin": "litecoin",
            "network": "mainnet",
            "nodes": [node("spare", role="standby"), node("first"), node("second")],
            "wallet": {"name": "Hot_1"},
            "confirmations": 12,
            "pollIntervalMilliseconds": 250,
        },
    ),
    manifest(
        "CoinEndpoint", "unused", {"coin": "bitcoin", "network": "mainnet", "nodes": [node("b")]}
    ),
    pplns("near", networkFactor="0.5"),
    pplns("far", weight=777),
    pool("zeta", "ltc", 1, poolId="shared-2"),
    pool(
        "alpha",
        "ltc",
        2,
        schemes=[{"name": "near"}, {"name": "far"}],
        defaultScheme="far",
        listeners=[
            {
                "name": "low",
                "port": 2,
                "host": "127.0.0.1",
                "difficulty": {"start": 1, "min": "0.5", "max": 2},
            },
            {
                "name": "near",
                "port": 4,
                "scheme": "near",
                "difficulty": {"start": 1, "min": 1, "max": 1},
            },
        ],
        regions=[{"id": "us", "state": "Off"}, {"id": "eu"}],
        vardiff={
            "shareIntervalSeconds": 7,
            "retargetIntervalSeconds": 70,
            "variancePercent": 17,
        },
        limits={
            "connectionsMax": 11,
            "lineBytesMax": 1024,
            "subscribeTimeoutSeconds": 12,
            "idleTimeoutSeconds": 13,
        },
        bans={
            "garbageLinesMax": 14,
            "invalidPercent": 15,
            "submitsWindow": 16,
            "durationSeconds": 18,
        },
    ),
    pool(
        "demo",
        "dev",
        3,
        payouts={
            "threshold": 2,
            "intervalSeconds": 9,
            "paused": True,
            "paymentsMax": 8,
            "feeRatePerVbyte": 3,
        },
    ),
    pool("off", "dev", 5, regions=[{"id": "eu", "state": "Off"}], payouts={
        "threshold": 2, "intervalSeconds": 9, "paused": True, "paymentsMax": 8,
        "feeRatePerVbyte": 3,
    }),
]  # fmt: skip

SLOTS = {
    "default.alpha": (
        SlotSettings(slot=0, scheme="near", revision="a", effective_height=0),
        SlotSettings(slot=1, scheme="far", revision="b", effective_height=0),
        SlotSettings(slot=1, scheme="far", revision="c", effective_height=90),
    ),
    "shared-2": (SlotSettings(slot=5, scheme="near", revision="a", effective_height=0),),
    "default.demo": (SlotSettings(slot=0, scheme="near", revision="a", effective_height=0),),
    "default.off": (SlotSettings(slot=0, scheme="near", revision="a", effective_height=0),),
}
SCRIPTS = {"dev": SCRIPT, "ltc": b"\x51"}


def read(objects: list[dict[str, Any]]) -> Manifests:
    # JSON documents are YAML documents.
    text = "---\n".join(json.dumps(each) + "\n" for each in objects)
    return parse_manifests(text.encode(), "all.yaml")


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return read(OBJECTS)


def charts_of(manifests: Manifests) -> AnalyticsSettings:
    found = render_analytics(manifests, PATHS)
    assert found is not None
    return found


def everything(manifests: Manifests) -> list[Settings]:
    """All settings of all phases."""
    hub = render_hub(manifests, PATHS)
    return [
        *([hub.devchain] if hub.devchain else []),
        hub.ledger,
        hub.payouts,
        render_rewards(manifests, PATHS, SCRIPTS),
        render_shares(manifests, PATHS, SCRIPTS, SLOTS),
        charts_of(manifests),
        *render_edges(manifests, PATHS, SCRIPTS, SLOTS),
    ]


def test_rendering_is_a_pure_function(manifests: Manifests) -> None:
    assert everything(manifests) == everything(read(OBJECTS))


def test_all_settings_pass_through_their_files(manifests: Manifests) -> None:
    for settings in everything(manifests):
        assert from_json(to_json(settings), type(settings)) == settings


def test_node_credentials_come_from_the_secret_and_main_nodes_first(manifests: Manifests) -> None:
    payouts = render_hub(manifests, PATHS).payouts
    dev, ltc = payouts.coins
    assert [(each.name, each.standby) for each in ltc.nodes] == [
        ("first", False),
        ("second", False),
        ("spare", True),
    ]
    assert {(each.user, each.password) for each in ltc.nodes} == {("rpc-user", "rpc-password")}
    assert (ltc.key, ltc.wallet.name, ltc.confirmations) == ("litecoin/mainnet", "Hot_1", 12)
    assert ltc.poll_interval_ms == 250
    assert dev.key == "devchain/regtest"


def test_coin_that_no_pool_uses_is_left_out(manifests: Manifests) -> None:
    payouts = render_hub(manifests, PATHS).payouts
    assert [coin.name for coin in payouts.coins] == ["dev", "ltc"]
    assert [policy.coin for policy in payouts.policies] == ["dev", "ltc"]


def test_built_in_node_serves_the_coin_that_has_none(manifests: Manifests) -> None:
    hub = render_hub(manifests, PATHS)
    devchain = hub.devchain
    assert devchain is not None
    (node_settings,) = hub.payouts.coins[0].nodes
    assert node_settings.url == f"http://{devchain.host}:{devchain.port}"
    assert (node_settings.user, node_settings.password) == (devchain.user, devchain.password)
    assert devchain.data_dir == Path("/d/node/dev")
    params = chain_params("devchain", "regtest")
    assert devchain.coinbase_maturity == params.coinbase_maturity


@pytest.mark.parametrize("hashes", [2, 3, 65536, 90_000, 2**40])
def test_built_in_node_takes_the_hashes_that_were_asked_for(hashes: int) -> None:
    objects = [each for each in OBJECTS if each["metadata"]["name"] in ("near", "demo")]
    spec = {"coin": "devchain", "network": "regtest", "devchain": {"hashesPerBlock": hashes}}
    found = read([*objects, manifest("CoinEndpoint", "dev", spec)])
    devchain = render_hub(found, PATHS).devchain
    assert devchain is not None
    # Compact targets have 16 significant bits or more.
    assert hashes <= expected_hashes(bits_to_target(devchain.bits)) <= hashes * (1 + 2**-15) + 1


def test_no_built_in_node_runs_when_every_coin_has_nodes() -> None:
    kept = [each for each in OBJECTS if each["metadata"]["name"] not in ("dev", "demo", "off")]
    assert render_hub(read(kept), PATHS).devchain is None


def test_payout_policy_is_in_base_units_and_one_a_coin(manifests: Manifests) -> None:
    dev, ltc = render_hub(manifests, PATHS).payouts.policies
    assert dev == PayoutPolicy(
        coin="dev",
        interval_s=9,
        threshold=200_000_000,
        paused=True,
        payments_max=8,
        fee_rate=3,
        fee_book="default.demo",
    )
    assert ltc.threshold == 25_000_000
    # Two pools share the wallet: the first by name bears the network fee.
    assert ltc.fee_book == "default.alpha"


def test_schemes_are_registered_in_the_order_of_the_pool(manifests: Manifests) -> None:
    registrations = render_hub(manifests, PATHS).registrations
    near = SchemeRegistration(
        name="near",
        method="PPLNS",
        parameters='{"fee_ppm":15000,"method":"PPLNS","window":{"factor_ppm":500000}}',
    )
    far = SchemeRegistration(
        name="far",
        method="PPLNS",
        parameters='{"fee_ppm":15000,"method":"PPLNS","window":{"weight":"777"}}',
    )
    assert registrations[0] == PoolRegistration(
        pool="default.alpha", coin="litecoin/mainnet", schemes=(near, far)
    )
    assert [each.pool for each in registrations] == [
        "default.alpha",
        "default.demo",
        "default.off",
        "shared-2",
    ]


def test_services_find_one_another_and_share_no_database(manifests: Manifests) -> None:
    hub = render_hub(manifests, PATHS)
    rewards = render_rewards(manifests, PATHS, SCRIPTS)
    shares = render_shares(manifests, PATHS, SCRIPTS, SLOTS)
    for service in (rewards, hub.payouts):
        assert service.shares == peer_of(shares.serve)
        assert service.ledger == peer_of(hub.ledger.serve)
    served = (hub.ledger, hub.payouts, rewards, shares)
    assert len({each.database for each in served}) == len(served)
    assert len({each.serve for each in served}) == len(served)


def test_analytics_reads_what_shares_reads_and_knows_no_node(manifests: Manifests) -> None:
    charts = charts_of(manifests)
    shares = render_shares(manifests, PATHS, SCRIPTS, SLOTS)
    assert (charts.database, charts.log) == (shares.database, shares.log)
    assert charts.shares == peer_of(shares.serve)
    assert charts.store.directory == Path("/d/db/columnar")
    assert [pool.pool for pool in charts.pools] == [pool.pool for pool in shares.pools]
    assert all(coin.nodes == () for coin in charts.coins)
    assert charts.nice > 0, "edges of the same machine come first"


def test_rewards_assigns_slots_and_shares_learns_them(manifests: Manifests) -> None:
    rewards = render_rewards(manifests, PATHS, SCRIPTS)
    shares = render_shares(manifests, PATHS, SCRIPTS, SLOTS)
    assert all(pool.slots == () for pool in rewards.pools)
    assert {pool.pool: pool.slots for pool in shares.pools} == SLOTS
    assert rewards.pools[1].payout_script == SCRIPT.hex()
    assert rewards.pools[0].regions == ("us", "eu")


def test_one_edge_runs_in_each_active_region(manifests: Manifests) -> None:
    edges = render_edges(manifests, PATHS, SCRIPTS, SLOTS)
    assert [(edge.pool, edge.region, edge.partition) for edge in edges] == [
        ("default.alpha", "eu", "eu-0"),
        ("default.demo", "eu", "eu-0"),
        ("shared-2", "eu", "eu-0"),
    ]
    assert len({edge.serve for edge in edges}) == 3


def test_edge_gets_all_its_limits_in_their_units(manifests: Manifests) -> None:
    edge = render_edges(manifests, PATHS, SCRIPTS, SLOTS)[0]
    assert edge.vardiff == VardiffSettings(
        share_interval_ms=7000, retarget_interval_ms=70_000, variance_percent=17
    )
    assert edge.limits == LimitSettings(
        connections_max=11,
        line_bytes_max=1024,
        subscribe_timeout_ms=12_000,
        idle_timeout_ms=13_000,
        garbage_lines_max=14,
        invalid_percent=15,
        invalid_window=16,
        ban_ms=18_000,
    )


def test_manifest_defaults_are_those_of_the_settings(manifests: Manifests) -> None:
    edge = render_edges(manifests, PATHS, SCRIPTS, SLOTS)[1]
    assert edge.vardiff == VardiffSettings()
    assert edge.limits == LimitSettings()


def test_listener_gets_the_slot_of_its_scheme_and_exact_weights(manifests: Manifests) -> None:
    edge = render_edges(manifests, PATHS, SCRIPTS, SLOTS)[0]
    low, near = edge.listeners
    assert (low.slot, low.host, low.port) == (1, "127.0.0.1", 2)
    assert (near.slot, near.host) == (0, "0.0.0.0")
    params = chain_params("litecoin", "mainnet")
    assert low.start_weight == weight_of_difficulty(1, params)
    assert low.min_weight == weight_of_difficulty(Decimal("0.5"), params)
    assert low.max_weight == weight_of_difficulty(2, params)
    assert low.min_weight <= low.start_weight <= low.max_weight


def test_what_a_service_has_not_told_yet_is_named(manifests: Manifests) -> None:
    with pytest.raises(RenderError, match="no payout script is known for CoinEndpoint ltc"):
        render_rewards(manifests, PATHS, {"dev": SCRIPT})
    with pytest.raises(RenderError, match=r"no scheme slots are known for pool default\.alpha"):
        render_edges(manifests, PATHS, SCRIPTS, {})
    lost = SLOTS | {"default.alpha": SLOTS["default.alpha"][:1]}
    with pytest.raises(RenderError, match=r"for scheme far of pool default\.alpha"):
        render_edges(manifests, PATHS, SCRIPTS, lost)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "stratum+tcp://127.0.0.1:3"),
        ("127.0.0.2", "stratum+tcp://127.0.0.2:3"),
        ("::", "stratum+tcp://[::1]:3"),
    ],
)
def test_demo_miners_reach_the_first_listener(host: str, url: str) -> None:
    objects = [each for each in OBJECTS if each["metadata"]["name"] in ("near", "dev")]
    bounds = {"start": 16, "min": "0.001", "max": 65536}
    demo = pool(
        "demo",
        "dev",
        3,
        listeners=[{"name": "main", "port": 3, "host": host, "difficulty": bounds}],
    )
    demo["metadata"]["annotations"] = {"pithead.dev/demo-miners": "100, 0.5"}
    assert demo_miners(read([*objects, demo])) == (
        DemoMiners(
            pool="default.demo",
            endpoint="dev",
            algorithm="sha256d",
            url=url,
            hashrates=(Decimal(100), Decimal("0.5")),
        ),
    )


def test_pool_that_is_off_or_asks_for_none_has_no_demo_miners(manifests: Manifests) -> None:
    assert demo_miners(manifests) == ()


def test_quickstart_finds_a_block_every_two_seconds() -> None:
    found = load_manifests([ROOT / "examples" / "quickstart"])
    hub = render_hub(found, PATHS)
    (miners,) = demo_miners(found)
    assert hub.devchain is not None
    seconds = expected_hashes(bits_to_target(hub.devchain.bits)) / sum(miners.hashrates)
    assert 1.9 < seconds < 2.1
    assert [rate / miners.hashrates[-1] for rate in miners.hashrates] == [8, 4, 2, 1]
    # Credit and buried payout within a minute: maturity, one schedule, two confirmations.
    (policy,) = hub.payouts.policies
    depth = hub.devchain.coinbase_maturity + hub.payouts.coins[0].confirmations
    assert depth * seconds + policy.interval_s < 35


@pytest.mark.parametrize("key", ["username", "password"])
def test_secret_that_settings_would_take_for_a_file_is_refused(
    manifests: Manifests, key: str
) -> None:
    login = replace(PATHS.credentials["rpc"], **{key: "fromFile:/etc/passwd"})
    with pytest.raises(RenderError, match=f"Secret rpc, key {key} begins with 'fromFile:'"):
        render_hub(manifests, replace(PATHS, credentials={"rpc": login}))


def test_litecoin_example_holds_at_least_two_hundred_shares() -> None:
    found = load_manifests([ROOT / "examples" / "litecoin-regtest"])
    paths = replace(PATHS, credentials=found.credentials)
    hub = render_hub(found, paths)
    ((registration,),) = [each.schemes for each in hub.registrations]
    window = int(json.loads(registration.parameters)["window"]["weight"])
    slots = {
        hub.registrations[0].pool: (
            SlotSettings(slot=0, scheme="pplns", revision="a", effective_height=0),
        )
    }
    (edge,) = render_edges(found, paths, {"litecoin": SCRIPT}, slots)
    (listener,) = edge.listeners
    assert listener.max_weight == 2, "a share harder than a block would miss blocks"
    assert window >= 200 * listener.max_weight
    (miners,) = demo_miners(found)
    assert miners.algorithm == "scrypt"
    assert [rate / miners.hashrates[-1] for rate in miners.hashrates] == [8, 4, 2, 1]
    assert 1 <= sum(miners.hashrates) / listener.max_weight <= Decimal("1.5")
