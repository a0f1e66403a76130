"""Wiring Jobs: named by what they are, so that only a change makes another one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pithead.config import (
    Settings,
    WireAnalyticsSettings,
    WireDatabasesSettings,
    WireSchemesSettings,
    WireTopicsSettings,
    WireWalletSettings,
    from_json,
)
from pithead_operator.desired.inputs import HubInputs, MissingInput, Object, Release
from pithead_operator.wiring.jobs import (
    WireJob,
    analytics_job,
    databases_job,
    schemes_job,
    topics_job,
    wallet_jobs,
)
from tests.unit.operator import samples
from tests.unit.operator.samples import changed, charted_inputs, hub_inputs, with_secret

pytestmark = pytest.mark.gate

SETTINGS: dict[str, type[Settings]] = {
    "databases": WireDatabasesSettings,
    "topics": WireTopicsSettings,
    "wallet": WireWalletSettings,
    "schemes": WireSchemesSettings,
}


def jobs(inputs: HubInputs) -> tuple[WireJob, ...]:
    return (
        databases_job(inputs),
        topics_job(inputs),
        *wallet_jobs(inputs),
        schemes_job(inputs),
    )


def names(inputs: HubInputs) -> dict[str, str]:
    """Names by kind and endpoint."""
    return {f"{job.kind} {job.endpoint}".strip(): job.name for job in jobs(inputs)}


def remade(before: HubInputs, after: HubInputs) -> set[str]:
    """Which Jobs another input makes anew."""
    first, second = names(before), names(after)
    return {kind for kind in first if first[kind] != second[kind]}


def test_tables_of_charts_are_made_where_there_is_a_clickhouse() -> None:
    assert analytics_job(hub_inputs()) is None
    hub = charted_inputs()
    job = analytics_job(hub)
    assert job is not None
    text = job.objects[0]["data"]["settings.json"].encode()
    settings = from_json(text, WireAnalyticsSettings)
    assert settings.store.clickhouse is not None
    assert settings.store.clickhouse.tls
    again = analytics_job(with_secret(hub, "clickhouse", "password", b"new"))
    assert again is not None
    assert again.name != job.name


def test_jobs_are_named_by_kind_endpoint_and_hash() -> None:
    for job in jobs(hub_inputs()):
        middle = f"{job.kind}-{job.endpoint}" if job.endpoint else job.kind
        assert job.name == f"pithead-wire-{middle}-{job.hash}"
        assert len(job.hash) == 10
    assert [job.endpoint for job in wallet_jobs(hub_inputs())] == ["bitcoin", "litecoin"]


def test_job_reads_its_own_settings() -> None:
    for job in jobs(hub_inputs()):
        settings_map, item = job.objects
        assert (settings_map["kind"], item["kind"]) == ("ConfigMap", "Job")
        assert settings_map["metadata"]["name"] == item["metadata"]["name"] == job.name
        from_json(settings_map["data"]["settings.json"].encode(), SETTINGS[job.kind])
        spec = item["spec"]["template"]["spec"]
        assert spec["volumes"][0]["configMap"]["name"] == job.name
        assert spec["containers"][0]["args"][:2] == ["wire", job.kind]


def test_job_gives_up_at_once_when_only_another_configuration_helps() -> None:
    for job in jobs(hub_inputs()):
        spec = job.objects[1]["spec"]
        first = spec["podFailurePolicy"]["rules"][0]
        assert (first["action"], first["onExitCodes"]["values"]) == ("FailJob", [2])
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        assert spec["activeDeadlineSeconds"] > 0
        assert spec["backoffLimit"] > 0


def test_job_stays_until_its_result_was_read() -> None:
    assert all(
        "ttlSecondsAfterFinished" not in job.objects[1]["spec"] for job in jobs(hub_inputs())
    )


def test_equal_inputs_in_another_order_make_the_same_jobs() -> None:
    turned = hub_inputs(list(reversed(samples.all_objects())))
    assert jobs(turned) == jobs(hub_inputs())


def partitions(objects: dict[str, Object]) -> None:
    for name in ("ltc", "btc"):
        objects[f"MiningPool/{name}"]["spec"]["stream"]["kafka"]["partitions"] = 16


def fee(objects: dict[str, Object]) -> None:
    objects["RewardScheme/pplns"]["spec"]["feePercent"] = "2"


def port(objects: dict[str, Object]) -> None:
    objects["MiningPool/ltc"]["spec"]["listeners"][0]["port"] = 4444


@pytest.mark.parametrize(
    ("change", "expected"),
    [(partitions, {"topics"}), (fee, {"schemes"}), (port, set())],
    ids=["partitions", "fee", "listener"],
)
def test_change_of_a_manifest_makes_the_jobs_anew_that_act_upon_it(
    change: Callable[[dict[str, Object]], None], expected: set[str]
) -> None:
    assert remade(hub_inputs(), changed(change)) == expected


@pytest.mark.parametrize(
    ("secret", "key", "expected"),
    [
        ("postgres-admin", "password", {"databases"}),
        ("kafka-user", "password", {"topics"}),
        ("litecoin-wallet", "password", {"wallet litecoin"}),
        ("pithead-tls", "wiring.crt", set()),
        ("pithead-tls", "ca.crt", set()),
        ("litecoin.rpc", "password", set()),
    ],
    ids=["administrator", "kafka", "wallet", "certificate", "authority", "node"],
)
def test_corrected_secret_makes_the_jobs_anew_that_use_it(
    secret: str, key: str, expected: set[str]
) -> None:
    hub = hub_inputs()
    assert remade(hub, with_secret(hub, secret, key, b"corrected")) == expected


def test_another_image_migrates_anew() -> None:
    hub = hub_inputs()
    after = replace(hub, release=Release(image="registry.example/pithead:1.1"))
    assert remade(hub, after) == set(names(hub))


def test_missing_secret_is_named() -> None:
    hub = hub_inputs()
    without = {name: each for name, each in hub.secrets.items() if name != "postgres-admin"}
    with pytest.raises(MissingInput) as missing:
        databases_job(replace(hub, secrets=without))
    assert missing.value.what == "Secret postgres-admin"
