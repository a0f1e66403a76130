"""The hub: its phases, its services, its payouts, and who may reach whom."""

from dataclasses import replace
from typing import Any

import pytest

from pithead.config import (
    AnalyticsSettings,
    LedgerSettings,
    PayoutsSettings,
    RewardsSettings,
    Settings,
    SharesSettings,
    from_json,
)
from pithead.config.places import RenderError
from pithead_operator.desired.hub import (
    render_analytics,
    render_base,
    render_money,
    render_payouts,
    render_shares,
)
from pithead_operator.desired.inputs import Facts, HubInputs, MissingInput, Object
from pithead_operator.wiring.minting import dns_names
from tests.unit.operator import samples
from tests.unit.operator.samples import changed, charted_inputs, hub_inputs, whole_hub, with_secret

pytestmark = pytest.mark.gate


def named(objects: tuple[Object, ...], kind: str) -> dict[str, Object]:
    """Objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def settings_of(objects: tuple[Object, ...], name: str, shape: type[Settings]) -> Any:
    """Settings in a ConfigMap (any of the shapes, hence Any)."""
    text = named(objects, "ConfigMap")[name]["data"]["settings.json"]
    return from_json(text.encode(), shape)


def mounted(pod: Object) -> dict[str, list[str]]:
    """Keys of Secrets that a pod sees, by the Secret."""
    return {
        each["secret"]["secretName"]: [item["key"] for item in each["secret"]["items"]]
        for each in pod["spec"]["volumes"]
        if "secret" in each
    }


def pods(inputs: HubInputs) -> dict[str, Object]:
    """Pod templates by the name of their Deployment or CronJob."""
    found = {}
    for each in whole_hub(inputs):
        if each["kind"] == "Deployment":
            found[each["metadata"]["name"]] = each["spec"]["template"]
        if each["kind"] == "CronJob":
            found[each["metadata"]["name"]] = each["spec"]["jobTemplate"]["spec"]["template"]
    return found


def test_charts_have_a_process_of_their_own_where_there_is_a_clickhouse() -> None:
    assert render_analytics(hub_inputs()) == ()
    hub = charted_inputs()
    objects = render_analytics(hub)
    assert [each["kind"] for each in objects] == ["Service", "ConfigMap", "Deployment"]
    settings = settings_of(objects, "pithead-analytics", AnalyticsSettings)
    assert settings.store.clickhouse is not None
    assert settings.store.clickhouse.host == "clickhouse.example"
    assert settings.store.clickhouse.password == "fromFile:/run/pithead/clickhouse/password"
    assert settings.retention_days == 30
    assert settings.database == "fromFile:/run/pithead/pithead-roles/shares-url"
    template = named(objects, "Deployment")["pithead-analytics"]["spec"]["template"]
    container = template["spec"]["containers"][0]
    assert container["args"][:2] == ["shares", "analytics"]
    assert mounted(template) == {
        "clickhouse": ["password", "username"],
        "kafka-ca": ["ca.crt"],
        "kafka-user": ["password", "username"],
        "pithead-roles": ["shares-url"],
        "pithead-tls": ["analytics.crt", "analytics.key", "ca.crt"],
    }
    policies = list(named(render_base(hub), "NetworkPolicy").values())
    labels = template["metadata"]["labels"]
    assert allowed(policies, labels, pods(hub)["pithead-rewards"]["metadata"]["labels"], 9500)
    assert not allowed(policies, {"app": "other"}, labels, 9500)


def test_anchor_comes_first() -> None:
    assert render_base(hub_inputs())[0]["metadata"]["name"] == "pithead-hub-anchor"


def test_each_phase_needs_only_what_is_known_by_then() -> None:
    known = hub_inputs()
    nothing = replace(known, facts=Facts())
    scripts = replace(known, facts=Facts(scripts=known.facts.scripts))
    assert render_base(nothing) == render_base(known)
    assert render_payouts(nothing) == render_payouts(known)
    with pytest.raises(RenderError):
        render_money(nothing)
    assert render_money(scripts) == render_money(known)
    with pytest.raises(RenderError):
        render_shares(scripts)
    assert set(named(render_shares(known), "Deployment")) == {"pithead-shares"}


def test_settings_are_those_of_their_service() -> None:
    objects = whole_hub(hub_inputs())
    ledger = settings_of(objects, "pithead-ledger", LedgerSettings)
    assert ledger.database == "fromFile:/run/pithead/pithead-roles/ledger-url"
    rewards = settings_of(objects, "pithead-rewards", RewardsSettings)
    assert rewards.ledger.address == "pithead-ledger.mining.svc:9500"
    shares = settings_of(objects, "pithead-shares", SharesSettings)
    assert {pool.pool for pool in shares.pools} == {"mining.ltc", "mining.btc"}
    payouts = settings_of(objects, "pithead-payouts-litecoin", PayoutsSettings)
    assert [coin.name for coin in payouts.coins] == ["litecoin"]
    assert [policy.coin for policy in payouts.policies] == ["litecoin"]


def test_services_are_called_by_names_that_their_certificates_bear() -> None:
    services = named(render_base(hub_inputs()), "Service")
    assert set(services) == {"pithead-ledger", "pithead-rewards", "pithead-shares"}
    for name in services:
        assert f"{name}.mining.svc" in dns_names(name.removeprefix("pithead-"), "mining")


def test_one_process_at_a_time_owns_a_database() -> None:
    for each in named(whole_hub(hub_inputs()), "Deployment").values():
        assert each["spec"]["replicas"] == 1
        assert each["spec"]["strategy"] == {"type": "Recreate"}


def test_pod_sees_the_secrets_of_its_own_service_alone() -> None:
    seen = {name: mounted(pod) for name, pod in pods(hub_inputs()).items()}
    assert seen["pithead-ledger"] == {
        "pithead-roles": ["ledger-url"],
        "pithead-tls": ["ca.crt", "ledger.crt", "ledger.key"],
    }
    assert seen["pithead-shares"] == {
        "pithead-roles": ["shares-url"],
        "pithead-tls": ["ca.crt", "shares.crt", "shares.key"],
        "kafka-ca": ["ca.crt"],
        "kafka-user": ["password", "username"],
        "bitcoin.rpc": ["password", "username"],
        "litecoin.rpc": ["password", "username"],
    }
    assert set(seen["pithead-payouts-litecoin"]) == {
        "pithead-roles",
        "pithead-tls",
        "litecoin-wallet",
    }


def test_coin_is_paid_on_its_schedule_one_run_at_a_time() -> None:
    spec = named(render_payouts(hub_inputs()), "CronJob")["pithead-payouts-litecoin"]["spec"]
    assert spec["schedule"] == "*/5 * * * *"
    assert spec["timeZone"] == "Etc/UTC"
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 0
    assert job["activeDeadlineSeconds"] > 0
    container = job["template"]["spec"]["containers"][0]
    assert container["args"] == [
        "payouts",
        "run",
        "--config",
        "/etc/pithead/settings.json",
        "--coin",
        "litecoin",
    ]


def test_paused_payouts_still_run_to_carry_signed_ones_to_their_end() -> None:
    def pause(objects: dict[str, Object]) -> None:
        objects["MiningPool/ltc"]["spec"]["payouts"]["paused"] = True

    objects = render_payouts(changed(pause))
    assert named(objects, "CronJob")["pithead-payouts-litecoin"]["spec"]["suspend"] is False
    policy = settings_of(objects, "pithead-payouts-litecoin", PayoutsSettings).policies[0]
    assert policy.paused


def allowed(policies: list[Object], source: dict[str, str], to: dict[str, str], port: int) -> bool:
    """Whether the policies let a pod of the namespace reach another one."""
    binding = [each["spec"] for each in policies if picks(each["spec"]["podSelector"], to)]
    return not binding or any(
        any(open_port["port"] == port for open_port in rule["ports"])
        and ("from" not in rule or any(picks(e["podSelector"], source) for e in rule["from"]))
        for spec in binding
        for rule in spec.get("ingress", ())
    )


def picks(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector (matchLabels and In) picks a pod."""
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ())
    )


def test_only_pods_of_the_hub_reach_its_services() -> None:
    inputs = hub_inputs()
    policies = list(named(render_base(inputs), "NetworkPolicy").values())
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(inputs).items()}
    ledger, stranger = labels["pithead-ledger"], {"app": "other"}
    for name, source in labels.items():
        assert allowed(policies, source, ledger, 9500), name
    assert not allowed(policies, stranger, ledger, 9500)
    assert allowed(policies, stranger, ledger, 9400)
    assert not allowed(policies, ledger, labels["pithead-payouts-litecoin"], 9500)
    edge = {"pithead.dev/owner": "mining.ltc", "app.kubernetes.io/component": "stratum"}
    assert not allowed(policies, edge, ledger, 9500)


def digests(inputs: HubInputs) -> dict[str, str]:
    return {
        name: pod["metadata"]["annotations"]["pithead.dev/inputs-digest"]
        for name, pod in pods(inputs).items()
    }


def test_renewed_certificate_restarts_its_service_alone() -> None:
    hub = hub_inputs()
    before, after = digests(hub), digests(with_secret(hub, "pithead-tls", "shares.crt", b"new"))
    assert {name for name in before if before[name] != after[name]} == {"pithead-shares"}


def test_changed_wallet_user_reaches_the_payouts_of_its_coin_alone() -> None:
    hub = hub_inputs()
    before = digests(hub)
    after = digests(with_secret(hub, "litecoin-wallet", "password", b"new"))
    changes = {name for name in before if before[name] != after[name]}
    assert changes == {"pithead-payouts-litecoin"}


def test_missing_secret_is_named() -> None:
    hub = hub_inputs()
    without = {name: each for name, each in hub.secrets.items() if name != "pithead-tls"}
    with pytest.raises(MissingInput) as missing:
        render_money(replace(hub, secrets=without))
    assert missing.value.what == "Secret pithead-tls"


def test_order_of_what_is_given_does_not_matter() -> None:
    turned = hub_inputs(list(reversed(samples.all_objects())))
    turned = replace(turned, secrets=dict(reversed(list(turned.secrets.items()))))
    assert whole_hub(turned) == whole_hub(hub_inputs())
