"""Edges: what a region gets, what rolls it, and what it never sees."""

import base64
import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from pithead.config import StratumSettings, from_json
from pithead.config.places import RenderError
from pithead_operator.desired.edge import (
    edge_status_object,
    render_edge,
    replicas_of,
    tls_secrets_of,
)
from pithead_operator.desired.inputs import EdgeInputs, Facts, MissingInput, Object
from tests.unit.operator import samples
from tests.unit.operator.samples import (
    all_edges,
    changed,
    edge_inputs,
    endpoint,
    hub_inputs,
    scheme,
    with_secret,
)

pytestmark = pytest.mark.gate


def by_kind(inputs: EdgeInputs) -> dict[str, Object]:
    """The objects by kind; the anchor apart."""
    return {
        each["kind"] if not each["metadata"]["name"].endswith("anchor") else "Anchor": each
        for each in render_edge(inputs)
    }


def template(inputs: EdgeInputs) -> Object:
    found: Object = by_kind(inputs)["Deployment"]["spec"]["template"]
    return found


def test_region_has_an_anchor_first_and_the_deployment_last() -> None:
    kinds = [each["kind"] for each in render_edge(edge_inputs())]
    assert kinds == [
        "ConfigMap",
        "ServiceAccount",
        "RoleBinding",
        "ConfigMap",
        "Secret",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "Deployment",
    ]
    assert render_edge(edge_inputs())[0]["metadata"]["name"] == "ltc-eu-anchor"


def test_region_that_is_off_has_no_objects() -> None:
    hub = changed(lambda objects: region_of(objects, "us").update(state="Off"))
    assert render_edge(edge_inputs(hub, region="us")) == ()


def test_draining_region_keeps_its_objects_and_has_no_pods() -> None:
    inputs = edge_inputs(region="asia")
    assert "Deployment" in by_kind(inputs)
    assert replicas_of(inputs).count == 0
    assert replicas_of(inputs).drain


def test_replicas_are_told_apart_from_the_deployment() -> None:
    inputs = edge_inputs(region="us")
    assert "replicas" not in by_kind(inputs)["Deployment"]["spec"]
    assert (replicas_of(inputs).deployment, replicas_of(inputs).count) == ("ltc-us-stratum", 3)
    assert not replicas_of(inputs).drain


def test_new_edge_serves_before_an_old_one_goes() -> None:
    strategy = by_kind(edge_inputs())["Deployment"]["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_edge_that_spools_has_a_volume_larger_than_its_spool_and_time_to_empty_it() -> None:
    def spool(objects: dict[str, Object]) -> None:
        for name in ("MiningPool/ltc", "MiningPool/btc"):
            stream = objects[name]["spec"]["stream"]
            stream |= {"onLogOutage": "spool", "spool": {"bytesMax": 2**30}, "keepBytes": 2**39}
            stream["kafka"]["bytesMax"] = 2**40

    inputs = edge_inputs(changed(spool))
    text = by_kind(inputs)["ConfigMap"]["data"]["settings.json"]
    settings = from_json(text.encode(), StratumSettings)
    assert settings.log.bytes_max == 2**40
    assert settings.spool is not None
    assert settings.spool.bytes_max == 2**30
    spec = template(inputs)["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "spool"]
    assert int(volume["emptyDir"]["sizeLimit"]) > 2**30 + 2**26
    mounts = {each["name"]: each for each in spec["containers"][0]["volumeMounts"]}
    assert mounts["spool"] == {"name": "spool", "mountPath": str(settings.spool.directory)}
    requests = spec["containers"][0]["resources"]["requests"]
    assert requests["ephemeral-storage"] == str(2**30)
    assert spec["terminationGracePeriodSeconds"] == 10 + 40 + 30 + 20


def test_edge_that_refuses_has_no_spool() -> None:
    spec = template(edge_inputs())["spec"]
    assert "spool" not in {each["name"] for each in spec["volumes"]}
    text = by_kind(edge_inputs())["ConfigMap"]["data"]["settings.json"]
    assert from_json(text.encode(), StratumSettings).spool is None


def test_edge_has_time_to_drain() -> None:
    assert template(edge_inputs())["spec"]["terminationGracePeriodSeconds"] == 10 + 40 + 30


def test_service_keeps_the_address_of_miners_and_tells_dns() -> None:
    service = by_kind(edge_inputs())["Service"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert [each["port"] for each in service["spec"]["ports"]] == [3333, 443]
    assert service["metadata"]["annotations"] == {
        "external-dns.alpha.kubernetes.io/hostname": "eu.pool.example,pool.example"
    }


def test_service_carries_the_annotations_of_its_region() -> None:
    service = by_kind(edge_inputs(region="us"))["Service"]
    assert service["metadata"]["annotations"] == {"lb.example/type": "nlb"}
    assert "annotations" not in by_kind(edge_inputs(region="asia"))["Service"]["metadata"]


def test_selectors_pick_the_pods_and_no_others() -> None:
    hub = hub_inputs()
    pods = {
        (each.pool.metadata.name, each.region.id): template(each)["metadata"]["labels"]
        for each in all_edges(hub)
    }
    for each in all_edges(hub):
        objects = by_kind(each)
        selectors = (
            objects["Service"]["spec"]["selector"],
            objects["Deployment"]["spec"]["selector"]["matchLabels"],
            objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
            objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        )
        for selector in selectors:
            picked = [key for key, labels in pods.items() if selector.items() <= labels.items()]
            assert picked == [(each.pool.metadata.name, each.region.id)]


def test_settings_are_those_of_pool_and_region() -> None:
    text = by_kind(edge_inputs(region="us"))["ConfigMap"]["data"]["settings.json"]
    settings = from_json(text.encode(), StratumSettings)
    assert (settings.pool, settings.region) == ("mining.ltc", "us")
    assert [node.name for node in settings.coin.nodes] == ["a", "b"]
    assert settings.drain.linger_ms == 10_000
    assert settings.report is not None
    assert settings.report.key == "fromFile:/run/pithead/pod/name"


def test_edge_finds_its_name_where_its_settings_look_for_it() -> None:
    spec = template(edge_inputs())["spec"]
    mount = next(each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "pod")
    volume = next(each for each in spec["volumes"] if each["name"] == "pod")
    item = volume["downwardAPI"]["items"][0]
    assert f"{mount['mountPath']}/{item['path']}" == "/run/pithead/pod/name"
    assert item["fieldRef"]["fieldPath"] == "metadata.name"


def test_secret_holds_copies_of_what_an_edge_may_know() -> None:
    data = by_kind(edge_inputs())["Secret"]["data"]
    assert sorted(data) == [
        "kafka-ca.crt",
        "kafka-password",
        "kafka-username",
        "node-a-password",
        "node-a-username",
        "node-b-password",
        "node-b-username",
    ]
    assert base64.b64decode(data["node-a-username"]) == b"ltc-edge"


@pytest.mark.parametrize(
    "word",
    ["ltc-wallet", "postgres-word", "btc-edge-word", "PRIVATE KEY"],
    ids=["wallet", "database", "another coin", "signing key"],
)
def test_what_spends_or_signs_never_leaves_the_hub(word: str) -> None:
    for region in ("eu", "us", "asia"):
        for each in render_edge(edge_inputs(region=region)):
            texts = [json.dumps(each)]
            if each["kind"] == "Secret":
                texts += [base64.b64decode(value).decode() for value in each["data"].values()]
            assert not any(word in text for text in texts)


def test_certificates_of_listeners_are_named_and_not_copied() -> None:
    inputs = edge_inputs()
    assert tls_secrets_of(inputs) == ("stratum.tls",)
    mounted = [
        each["secret"]["secretName"]
        for each in template(inputs)["spec"]["volumes"]
        if "secret" in each
    ]
    assert mounted == ["ltc-eu-stratum", "stratum.tls"]


def test_low_ports_can_be_opened_by_an_ordinary_user() -> None:
    sysctl = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
    assert template(edge_inputs())["spec"]["securityContext"]["sysctls"] == [sysctl]
    hub = changed(lambda objects: objects["MiningPool/ltc"]["spec"]["listeners"].pop())
    assert "sysctls" not in template(edge_inputs(hub))["spec"]["securityContext"]


def test_status_object_leaves_alone_what_edges_wrote() -> None:
    found = edge_status_object(hub_inputs())
    assert found["metadata"]["name"] == "pithead-edge-status"
    assert "data" not in found


@pytest.mark.parametrize(
    ("secret", "key"),
    [("litecoin.rpc", "password"), ("kafka-user", "username"), ("kafka-ca", "ca.crt")],
    ids=["node", "kafka user", "kafka authority"],
)
def test_missing_secret_is_named(secret: str, key: str) -> None:
    hub = hub_inputs()
    without = {name: each for name, each in hub.secrets.items() if name != secret}
    with pytest.raises(MissingInput) as missing:
        render_edge(edge_inputs(replace(hub, secrets=without)))
    assert missing.value.what == f"Secret {secret}"
    with pytest.raises(MissingInput) as missing:
        render_edge(edge_inputs(with_secret(hub, secret, key, b"\n")))
    assert missing.value.what == f"Secret {secret}, key {key}"


@pytest.mark.parametrize("missing", ["scripts", "slots"])
def test_nothing_is_rendered_before_the_facts_are_known(missing: str) -> None:
    hub = hub_inputs()
    facts = replace(hub.facts, **{missing: {}})
    with pytest.raises(RenderError):
        render_edge(edge_inputs(replace(hub, facts=facts)))


def region_of(objects: dict[str, Object], region: str) -> dict[str, Any]:
    """Region of the pool `ltc` among manifests by kind/name."""
    regions = objects["MiningPool/ltc"]["spec"]["regions"]
    found: dict[str, Any] = next(each for each in regions if each["id"] == region)
    return found


def digest(inputs: EdgeInputs) -> str:
    found: str = template(inputs)["metadata"]["annotations"]["pithead.dev/inputs-digest"]
    return found


def put(path: str, value: Any) -> Any:
    """A change of the manifests: `MiningPool/ltc spec.payouts.paused`, and the new value."""

    def change(objects: dict[str, Object]) -> None:
        name, _, rest = path.partition(" ")
        *parents, last = rest.split(".")
        at: Any = objects[name]
        for key in parents:
            at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
        at[last] = value

    return change


LIVE = {
    "confirmations": put("CoinEndpoint/litecoin spec.confirmations", 12),
    "wallet user": put(
        "CoinEndpoint/litecoin spec.wallet.credentialsSecretRef.name", "bitcoin-wallet"
    ),
    "fee": put("RewardScheme/pplns spec.feePercent", "2"),
    "schedule": put("MiningPool/ltc spec.payouts.schedule", "0 * * * *"),
    "paused": put("MiningPool/ltc spec.payouts.paused", True),
    "replicas": put("MiningPool/ltc spec.regions.0.replicas", 5),
    "hostnames": put("MiningPool/ltc spec.regions.0.hostnames", ["other.example"]),
    "annotations": put("MiningPool/ltc spec.regions.0.serviceAnnotations", {"a/b": "c"}),
    "payments": put("MiningPool/ltc spec.payouts.paymentsMax", 7),
    "copies of topics": put("MiningPool/ltc spec.stream.kafka.replicas", 1),
}
ROLLING = {
    "difficulty": put("MiningPool/ltc spec.listeners.0.difficulty.start", "2"),
    "limits": put("MiningPool/ltc spec.limits.connectionsMax", 7),
    "vardiff": put("MiningPool/ltc spec.vardiff.shareIntervalSeconds", 7),
    "drain": put("MiningPool/ltc spec.drain.lingerSeconds", 7),
    "node": put("CoinEndpoint/litecoin spec.nodes.0.url", "http://elsewhere.example:1"),
    "poll": put("CoinEndpoint/litecoin spec.pollIntervalMilliseconds", 777),
}


@pytest.mark.parametrize("name", LIVE)
def test_live_change_rolls_no_edge(name: str) -> None:
    before, after = edge_inputs(), edge_inputs(changed(agreeing(LIVE[name])))
    # Such a change gives a scheme another revision.
    renewed = {
        pool: tuple(
            type(slot)(slot=slot.slot, scheme=slot.scheme, revision="ff" * 32, effective_height=900)
            for slot in table
        )
        for pool, table in after.hub.facts.slots.items()
    }
    facts = Facts(scripts=after.hub.facts.scripts, slots=renewed)
    hub = replace(after.hub, facts=facts)
    assert template(replace(after, hub=hub)) == template(before)


@pytest.mark.parametrize("name", ROLLING)
def test_rolling_change_rolls_the_edges(name: str) -> None:
    assert digest(edge_inputs(changed(agreeing(ROLLING[name])))) != digest(edge_inputs())


def agreeing(change: Any) -> Any:
    """The change with the other pool of the namespace doing the same where they must agree."""

    def both(objects: dict[str, Object]) -> None:
        change(objects)
        spec = objects["MiningPool/ltc"]["spec"]
        objects["MiningPool/btc"]["spec"]["stream"] = copy.deepcopy(spec["stream"])

    return both


def test_changed_password_rolls_the_edges_that_use_it() -> None:
    hub = hub_inputs()
    after = with_secret(hub, "litecoin.rpc", "password", b"another")
    assert digest(edge_inputs(after)) != digest(edge_inputs(hub))
    assert digest(edge_inputs(after, pool="btc")) == digest(edge_inputs(hub, pool="btc"))


def test_digest_does_not_tell_the_password_to_who_has_no_key() -> None:
    hub = hub_inputs()
    other = replace(hub, digest_key=b"another key")
    assert digest(edge_inputs(other)) != digest(edge_inputs(hub))


def test_order_of_what_is_given_does_not_matter() -> None:
    objects = samples.all_objects()
    turned = hub_inputs(list(reversed(objects)))
    turned = replace(turned, secrets=dict(reversed(list(turned.secrets.items()))))
    assert [render_edge(each) for each in all_edges(turned)] == [
        render_edge(each) for each in all_edges(hub_inputs())
    ]


def test_pool_alone_is_rendered_as_beside_others() -> None:
    alone = hub_inputs([endpoint(), scheme(), samples.pool()])
    assert render_edge(edge_inputs(alone)) == render_edge(edge_inputs())
