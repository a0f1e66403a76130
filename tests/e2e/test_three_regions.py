"""One apply makes a pool in three regions, its miners are paid, and faults change nothing of that.

The clusters are real (tests/e2e/bed), the pods run the project's image, the charts are installed by
helm and the example is applied by kubectl. Kafka, PostgreSQL and litecoind are real and stand
beside the clusters; the us region has a Kafka of its own, and a relay. The asia region has an API
server but no machines: its objects are checked, its pods never run.
"""

import asyncio
import json
import random
import shutil
import socket
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pithead.coins.node import RpcNode
from tests.e2e.bed.backing import Backing
from tests.e2e.bed.bed import Bed
from tests.e2e.bed.stage import MEMBERS, NAMESPACE, SYSTEM, Stage
from tests.e2e.bed.waiting import until

pytestmark = [
    pytest.mark.full,
    pytest.mark.needs("containers", "kafka", "postgres", "litecoind", "clickhouse"),
    pytest.mark.timeout(420),
]

FIRST_SHARE_S_MAX = 90
MATURITY = 100
NOBODY = "rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5"
KINDS = (
    "deployments.apps",
    "services",
    "serviceaccounts",
    "configmaps",
    "secrets",
    "poddisruptionbudgets.policy",
    "networkpolicies.networking.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "cronjobs.batch",
    "jobs.batch",
)
OURS = "app.kubernetes.io/managed-by=pithead-operator"

AnswerT = TypeVar("AnswerT")


@pytest.fixture(scope="module")
def stage(bed: Bed) -> Iterator[Stage]:
    # Unlike pytest's own folders, one that PostgreSQL's user may enter.
    directory = Path(tempfile.mkdtemp(prefix="phb-"))
    with Backing(directory, host=bed.host) as backing:
        stage = Stage(bed, backing)
        stage.install()
        stage.make_secrets()
        stage.apply()
        try:
            yield stage
        finally:
            stage.stop_mining()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def mined(stage: Stage) -> float:
    """Miners run in both regions; the seconds from the apply to the first accepted share."""
    try:
        stage.mine("eu").wait_accepted(1, limit_s=150)
        seconds = time.monotonic() - stage.applied_at
        stage.mine("us").wait_accepted(1, limit_s=60)
    except Exception as error:
        raise AssertionError(f"{error}\n{stage.diagnosis()}") from error
    return seconds


def on_node(stage: Stage, question: Callable[[RpcNode], Awaitable[AnswerT]]) -> AnswerT:
    async def ask() -> AnswerT:
        async with RpcNode(stage.backing.node.access) as node:
            return await question(node)

    return asyncio.run(ask())


def generate(stage: Stage, blocks: int) -> None:
    """Let the node itself find blocks, for nobody."""
    on_node(stage, lambda node: node.call("generatetoaddress", blocks, NOBODY))


def children(stage: Stage, region: str) -> set[str]:
    names = stage.bed.clusters[region].kubectl(
        *("get", ",".join(KINDS), "-n", NAMESPACE, "-l", OURS, "-o", "name")
    )
    return set(names.split())


def fingerprints(stage: Stage) -> dict[tuple[str, str], Any]:
    """What matters of every object of ours in every cluster: the spec or the data."""
    found: dict[tuple[str, str], Any] = {}
    for region, cluster in stage.bed.clusters.items():
        text = cluster.kubectl(
            *("get", ",".join(KINDS), "-n", NAMESPACE, "-l", OURS, "-o", "json"), limit_s=60
        )
        for item in json.loads(text)["items"]:
            name = f"{item['kind']}/{item['metadata']['name']}"
            # One is the edges' own; the other counts the changes that were accepted.
            if item["metadata"]["name"].startswith(("pithead-edge-status", "pithead-accepted")):
                continue
            found[region, name] = item.get("spec") or item.get("data") or item.get("subjects")
    return found


def assert_all_credited(stage: Stage, answered: Counter[str], limit_s: float = 60) -> None:
    """Every share answered `true` is in the cells, once."""

    def same() -> bool:
        credited = stage.credited()
        return all(credited[login] >= shares for login, shares in answered.items())

    until("all answered shares in the cells", same, limit_s=limit_s, diagnose=stage.diagnosis)
    time.sleep(2)
    credited = stage.credited()
    unknown = sum(each.unanswered for each in stage.miners.values())
    for login, shares in answered.items():
        assert shares <= credited[login] <= shares + unknown


def test_the_first_share_is_accepted_within_ninety_seconds_of_the_apply(
    stage: Stage, mined: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\nfrom apply to the first accepted share: {mined:.1f} s")
        print(f"image: {stage.image.size / 1e6:.0f} MB unpacked")
    assert mined <= FIRST_SHARE_S_MAX
    stage.wait_ready(60)


def test_kubectl_get_shows_what_a_person_needs(
    stage: Stage, mined: float, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.wait_ready(60)
    table = stage.hub.kubectl("get", "mp,ce,rws", "-n", NAMESPACE)
    with capsys.disabled():
        print("\n" + table)
    assert all(name in table for name in (stage.pool, stage.coin, "PPLNS"))
    pool = stage.look("miningpools", stage.pool)["status"]
    regions = {region["id"]: region for region in pool["regions"]}
    assert set(regions) == {"eu", "us", "asia"}
    assert all(region["reachable"] for region in regions.values())
    with_pods = {cluster.region for cluster in stage.bed.with_nodes}
    assert {name for name, region in regions.items() if region["ready"] == 1} == with_pods
    until(
        "connections in the status",
        lambda: (
            sum(
                region.get("connections", 0)
                for region in stage.look("miningpools", stage.pool)["status"]["regions"]
            )
            >= 4
        ),
        limit_s=60,
        diagnose=stage.diagnosis,
    )
    coin = until(
        "a node in the CoinEndpoint's status",
        lambda: stage.look("coinendpoints", stage.coin).get("status", {}).get("nodes"),
        limit_s=60,
        diagnose=stage.diagnosis,
    )
    assert coin[0]["reachable"]
    assert coin[0]["height"] > 0
    described = stage.hub.kubectl("describe", "mp", stage.pool, "-n", NAMESPACE)
    assert "Events:" in described


def test_shares_of_two_regions_are_in_one_window_exactly_once(stage: Stage, mined: float) -> None:
    east, west = stage.mine("eu"), stage.mine("us")
    east.wait_accepted(20, 120)
    west.wait_accepted(20, 120)
    accounts = {*east.accounts, *west.accounts}

    def shared_split() -> bool:
        rows = stage.rows(
            "select count(distinct login) as n, s.hash from {rewards}.split_shares s"
            " join {shares}.accounts a on a.id = s.account where a.login = any($1::text[])"
            " group by s.hash order by n desc limit 1",
            list(accounts),
        )
        return bool(rows) and rows[0]["n"] == len(accounts)

    until("a split with accounts of both regions", shared_split, limit_s=90,
          diagnose=stage.diagnosis)  # fmt: skip
    assert_all_credited(stage, stage.stop_mining())


def test_shares_of_both_regions_arrive_in_clickhouse_once(stage: Stage, mined: float) -> None:
    for region in ("eu", "us"):
        stage.mine(region).wait_accepted(5, 60)
    answered = stage.stop_mining()
    assert_all_credited(stage, answered)
    assert_all_charted(stage)


def assert_all_charted(stage: Stage) -> None:
    """ClickHouse has as many shares as the cells, and is told to be ready; nobody mines now."""
    until(
        "as many shares in ClickHouse as in the cells",
        lambda: stage.charted() == stage.credited().total(),
        limit_s=90,
        every_s=1,
        diagnose=lambda: f"{stage.charted()}, {stage.credited()}\n{stage.diagnosis()}",
    )
    until(
        "the charts to be told as ready",
        lambda: stage.conditions()["AnalyticsReady"]["status"] == "True",
        limit_s=60,
        diagnose=stage.diagnosis,
    )


@pytest.mark.timeout(600)
def test_a_found_block_is_paid_by_the_cronjob(stage: Stage, mined: float) -> None:
    stage.mine("eu").wait_accepted(5, 60)
    stage.mine("us").wait_accepted(5, 60)
    generate(stage, MATURITY + 5)
    cronjob = f"pithead-payouts-{stage.coin}"

    def sent() -> list[Any]:
        return stage.rows(
            "select encode(a.txid, 'hex') as txid, p.state from {payouts}.attempts a"
            " join {payouts}.payouts p on p.id = a.payout"
        )

    until("a payout by the schedule", sent, limit_s=200, every_s=1, diagnose=stage.diagnosis)
    jobs = stage.hub.kubectl("get", "jobs", "-n", NAMESPACE, "-o", "name")
    assert cronjob in jobs
    generate(stage, 6)
    # The first payout is of the first blocks, which not everybody had a share in.
    accounts = {*stage.mine("eu").accounts, *stage.mine("us").accounts}
    until(
        "every miner of both regions to be paid, buried in the chain",
        lambda: accounts <= set(payments(stage, "buried")),
        limit_s=280,
        every_s=1,
        diagnose=lambda: f"{sent()}\n{stage.diagnosis()}",
    )
    buried = payments(stage, "buried")
    seen = {login: on_node(stage, partial(received, address=login)) for login in buried}
    # Further payouts may be on their way meanwhile.
    all_of_them = payments(stage, "%")
    for login, amount in buried.items():
        assert 0 < amount <= seen[login] <= all_of_them[login]


def payments(stage: Stage, state: str) -> Counter[str]:
    """What each miner was paid by payouts in a state, in base units."""
    rows = stage.rows(
        "select login, sum(amount)::bigint as amount from {payouts}.payments p"
        " join {payouts}.payouts o on o.id = p.payout where o.state like $1 group by login",
        state,
    )
    return Counter({row["login"]: int(row["amount"]) for row in rows})


def wait_empty(stage: Stage, region: str) -> None:
    until(
        f"nothing to be left in {region}",
        lambda: not children(stage, region),
        limit_s=90,
        diagnose=lambda: str(children(stage, region)),
    )


async def received(node: RpcNode, address: str) -> int:
    """Base units that an address has got, from the node's own look at all outputs."""
    found = await node.call("scantxoutset", "start", [f"addr({address})"])
    return round(float(found["total_amount"]) * 100_000_000)


@pytest.mark.parametrize("region", ["eu", "us"])
def test_a_deleted_child_and_a_changed_one_are_put_back(
    stage: Stage, mined: float, region: str
) -> None:
    stage.wait_ready(60)
    miners = stage.mine(region)
    cluster = stage.bed.clusters[region]
    before = fingerprints(stage)
    edge = stage.edge(region)
    cluster.kubectl("delete", "pdb", edge, "-n", NAMESPACE)
    cluster.kubectl("delete", "configmap", edge, "-n", NAMESPACE)
    cluster.kubectl(
        *("patch", "service", edge, "-n", NAMESPACE, "--type=merge"),
        *("-p", '{"spec":{"externalTrafficPolicy":"Cluster"}}'),
    )
    wait_same(stage, before, 30)
    miners.wait_accepted(5, 60)


def wait_same(stage: Stage, before: dict[tuple[str, str], Any], limit_s: float) -> None:
    """Wait until the same objects are there as before."""
    wanted = cut(before)

    def differing() -> list[Any]:
        found = cut(fingerprints(stage))
        return [
            (key, wanted.get(key), found.get(key))
            for key in sorted({*wanted, *found})
            if wanted.get(key) != found.get(key)
        ]

    until(
        "the same objects as before",
        lambda: not differing(),
        limit_s=limit_s,
        every_s=0.5,
        diagnose=lambda: f"{differing()}\n{stage.diagnosis()}",
    )


def cut(found: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """Leave out what the API server gives anew to a remade object."""
    return {
        key: {
            name: part
            for name, part in value.items()
            if name not in {"clusterIP", "clusterIPs", "healthCheckNodePort", "ports"}
        }
        if isinstance(value, dict)
        else value
        for key, value in found.items()
        if not key[1].startswith("Job/pithead-payouts")
    }


@pytest.mark.parametrize("region", ["eu", "us"])
def test_a_miner_connects_with_tls_and_its_region_s_own_certificate(
    stage: Stage, mined: float, region: str
) -> None:
    stage.wait_ready(60)
    host, port = stage.tls_address(region)
    context = ssl.create_default_context(cafile=str(stage.authority(region)))
    with (
        socket.create_connection((host, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=f"{region}.pithead.internal") as secured,
    ):
        secured.sendall(b'{"id":1,"method":"mining.subscribe","params":[]}\n')
        answer = json.loads(secured.makefile().readline())
    assert answer["error"] is None
    assert answer["result"]


def test_kafka_that_is_killed_stops_no_miner_and_nothing_ends_a_pod_that_spools(
    stage: Stage, mined: float, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.wait_ready(60)
    east, west = stage.mine("eu"), stage.mine("us")
    east.wait_accepted(3, 60)
    refused = east.refused[20]
    deployment = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{stage.edge('eu')}"
    before = stage.hub.api.call(deployment)["spec"]
    stage.backing.kafka.kill()
    try:
        until(
            "the region to tell that it spools",
            lambda: stage.region_condition("eu", "Degraded").get("reason") == "Spooling",
            limit_s=90,
            every_s=0.5,
            diagnose=stage.diagnosis,
        )
        assert stage.conditions()["StreamReady"]["reason"] == "Spooling"
        assert stage.region_condition("us", "Degraded")["status"] == "False"
        change_limits(stage, '{"idleTimeoutSeconds":301}')
        east.wait_accepted(8, 60)
        west.wait_accepted(3, 60)
        assert stage.hub.api.call(deployment)["spec"] == before
    finally:
        stage.backing.kafka.start()
        asyncio.run(stage.backing.kafka.until_ready())
    back = time.monotonic()
    until(
        "the spool to be empty",
        lambda: stage.region_condition("eu", "Degraded").get("status") == "False",
        limit_s=90,
        every_s=0.5,
        diagnose=stage.diagnosis,
    )
    with capsys.disabled():
        print(f"\nspool told empty {time.monotonic() - back:.1f} s after Kafka was back")
    assert east.refused[20] == refused
    change_limits(stage, "null")
    assert_all_credited(stage, stage.stop_mining())
    stage.wait_ready(90)


def test_a_region_cut_off_from_the_hub_goes_on_and_catches_up(
    stage: Stage, mined: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its edges reach their own Kafka and their node, and nothing of the hub's cluster."""
    stage.wait_ready(90)
    west = stage.mine("us")
    west.wait_accepted(3, 60)
    until("the relay to be told", lambda: stage.region_condition("us", "Relayed").get("status") ==
          "True", limit_s=90, diagnose=stage.diagnosis)  # fmt: skip
    refused = west.refused[20]
    height = on_node(stage, blocks)
    us = stage.bed.clusters["us"]
    us.part_from(stage.hub)
    try:
        until("the region to be told as not reachable", lambda: not reachable(stage, "us"),
              limit_s=60, diagnose=stage.diagnosis)  # fmt: skip
        west.wait_accepted(20, 120)
        credited = sum(stage.credited()[each] for each in west.accounts)
        west.wait_accepted(5, 60)
        # Nothing of the region arrives, and the other one is seen to.
        assert sum(stage.credited()[each] for each in west.accounts) == credited
        stage.mine("eu").wait_accepted(3, 60)
        mined_alone = on_node(stage, blocks) - height
    finally:
        us.join_again(stage.hub)
    back = time.monotonic()
    assert mined_alone > 5
    assert west.refused[20] == refused
    until("the region to be reachable", lambda: reachable(stage, "us"), limit_s=60,
          diagnose=stage.diagnosis)  # fmt: skip
    assert_all_credited(stage, stage.stop_mining(), limit_s=90)
    with capsys.disabled():
        print(
            f"\ncut off for {mined_alone} blocks; all credited "
            f"{time.monotonic() - back:.1f} s after"
        )
    until("the relay to be well", lambda: stage.region_condition("us", "Relayed").get("status") ==
          "True", limit_s=60, diagnose=stage.diagnosis)  # fmt: skip


async def blocks(node: RpcNode) -> int:
    """Height of the chain."""
    return int(await node.call("getblockcount"))


def test_clickhouse_that_is_away_stops_nothing_and_is_written_on(
    stage: Stage, mined: float
) -> None:
    stage.wait_ready(60)
    miners = stage.mine("eu")
    stage.backing.clickhouse.kill()
    try:
        until(
            "the pool to tell that its charts wait",
            lambda: stage.conditions().get("AnalyticsReady", {}).get("status") == "False",
            limit_s=90,
            every_s=0.5,
            diagnose=stage.diagnosis,
        )
        assert stage.conditions()["Stalled"]["status"] == "False"
        miners.wait_accepted(3, 60)
    finally:
        stage.backing.clickhouse.start()
    assert_all_credited(stage, stage.stop_mining())
    assert_all_charted(stage)


def test_a_database_that_is_away_stops_no_miner(stage: Stage, mined: float) -> None:
    stage.wait_ready(60)
    miners = stage.mine("eu")
    stage.backing.postgres.stop(kill=True)
    try:
        miners.wait_accepted(5, 60)
    finally:
        stage.backing.postgres.start()
    miners.wait_accepted(3, 60)
    assert_all_credited(stage, stage.stop_mining())
    stage.wait_ready(90)


def test_an_operator_killed_while_it_works_converges(stage: Stage, mined: float) -> None:
    """Kills of pods at random moments; tests/e2e/test_operator_faults.py kills at each request."""
    stage.wait_ready(90)
    miners = stage.mine("us")
    before = fingerprints(stage)
    chance = random.Random(20)
    for turn in range(4):
        change_limits(stage, f'{{"idleTimeoutSeconds":{300 + turn}}}')
        delete = ("delete", "pdb", stage.edge("us"), "-n", NAMESPACE, "--ignore-not-found")
        stage.bed.clusters["us"].kubectl(*delete)
        time.sleep(chance.uniform(0.05, 1.5))
        stage.hub.kubectl(
            *("delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator"),
            *("--grace-period=0", "--force"),
        )
        time.sleep(chance.uniform(1, 12))
    change_limits(stage, "null")
    wait_same(stage, before, 120)
    stage.wait_ready(120)
    miners.wait_accepted(4, 60)


def change_limits(stage: Stage, limits: str) -> None:
    stage.hub.kubectl(
        *("patch", "mp", stage.pool, "-n", NAMESPACE, "--type=merge"),
        *("-p", f'{{"spec":{{"limits":{limits}}}}}'),
    )


def test_a_region_without_its_api_server_mines_on_and_catches_up(
    stage: Stage, mined: float
) -> None:
    stage.wait_ready(90)
    west = stage.mine("us")
    cluster = stage.bed.clusters["us"]
    cluster.kill_api()
    try:
        until(
            "the region to be told as not reachable",
            lambda: not reachable(stage, "us"),
            limit_s=60,
            diagnose=stage.diagnosis,
        )
        west.wait_accepted(8, 60)
        assert reachable(stage, "eu")
    finally:
        cluster.start_api()
    until("the region to be reachable", lambda: reachable(stage, "us"), limit_s=60,
          diagnose=stage.diagnosis)  # fmt: skip
    cluster.kubectl("delete", "pdb", stage.edge("us"), "-n", NAMESPACE)
    until(
        "repair in the region that is back",
        lambda: f"poddisruptionbudget.policy/{stage.edge('us')}" in children(stage, "us"),
        limit_s=30,
        diagnose=stage.diagnosis,
    )
    west.wait_accepted(5, 60)


def reachable(stage: Stage, region: str) -> bool:
    status = stage.look("miningpools", stage.pool).get("status", {})
    found = {each["id"]: each for each in status.get("regions", [])}
    return bool(found.get(region, {}).get("reachable"))


def test_deleting_everything_leaves_nothing_and_a_pool_made_again_goes_on(
    stage: Stage, mined: float
) -> None:
    stage.wait_ready(90)
    for region in ("eu", "us"):
        stage.mine(region).wait_accepted(3, 60)
    answered = stage.stop_mining()
    assert_all_credited(stage, answered)
    booked = stage.credited()
    stage.hub.kubectl("delete", "-f", str(stage.example), "-n", NAMESPACE, limit_s=90)
    for region in ("eu", *MEMBERS):
        wait_empty(stage, region)
    stage.make_secrets()
    stage.apply()
    stage.mine("eu").wait_accepted(5, 150)
    stage.wait_ready(120)
    assert all(stage.credited()[login] >= shares for login, shares in booked.items())
