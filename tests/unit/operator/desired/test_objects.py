"""What holds for every object that the operator makes, whatever it is."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pithead.cli import main
from pithead_operator.desired.edge import edge_status_object, render_edge
from pithead_operator.desired.inputs import HubInputs, Object
from pithead_operator.desired.pods import SETTINGS_FILE
from pithead_operator.desired.relay import render_relay, render_relay_base
from pithead_operator.wiring.facts import facts_object
from pithead_operator.wiring.jobs import (
    analytics_job,
    databases_job,
    region_topics_job,
    schemes_job,
    topics_job,
    wallet_jobs,
)
from pithead_operator.wiring.minting import secret_object
from tests.unit.operator.samples import (
    HUB_UID,
    NAMESPACE,
    all_edges,
    edge_inputs,
    relayed_inputs,
    whole_hub,
)

pytestmark = pytest.mark.gate

EXTERNAL_SECRETS = {
    "clickhouse",
    "bitcoin-wallet",
    "bitcoin.rpc",
    "kafka-ca",
    "kafka-user",
    "litecoin-wallet",
    "litecoin.rpc",
    "postgres-admin",
    "stratum.tls",
}
"""Those that manifests name: people make them."""


MINTED = ("pithead-ca", "pithead-tls", "pithead-roles", "pithead-regions")


def hub_objects(hub: HubInputs) -> list[Object]:
    """All that lies in the hub's namespace, beside edges."""
    jobs = [databases_job(hub), topics_job(hub), *wallet_jobs(hub), schemes_job(hub)]
    if (charts := analytics_job(hub)) is not None:
        jobs.append(charts)
    return [
        *(secret_object(NAMESPACE, HUB_UID, name, hub.secrets[name]) for name in MINTED),
        *whole_hub(hub),
        *(each for job in jobs for each in job.objects),
        facts_object(hub, {}),
        edge_status_object(hub),
    ]


def all_rendered() -> list[Object]:
    hub = relayed_inputs()
    us = edge_inputs(hub, region="us")
    relay = [*render_relay_base(us), *region_topics_job(us).objects, *render_relay(us)]
    edges = [each for edge in all_edges(hub) for each in render_edge(edge)]
    return [*hub_objects(hub), *edges, *relay]


def title(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for each in objects:
        if each["kind"] in {"Deployment", "Job"}:
            yield title(each), each["spec"]["template"]
        if each["kind"] == "CronJob":
            yield title(each), each["spec"]["jobTemplate"]["spec"]["template"]


def test_every_object_is_complete_and_ours() -> None:
    for each in all_rendered():
        labels = each["metadata"]["labels"]
        assert each["apiVersion"], title(each)
        assert each["metadata"]["namespace"] == NAMESPACE
        assert labels["app.kubernetes.io/managed-by"] == "pithead-operator"
        assert labels["app.kubernetes.io/name"] == "pithead"
        assert labels["pithead.dev/hub"] == HUB_UID
        assert re.fullmatch(r"mining\.(hub|ltc|btc)", labels["pithead.dev/owner"])
        assert "status" not in each
        assert not each["metadata"].keys() - {"name", "namespace", "labels", "annotations"}


def test_no_object_is_made_twice() -> None:
    titles = [title(each) for each in all_rendered()]
    assert len(titles) == len(set(titles))


def test_every_name_and_label_is_valid() -> None:
    for each in all_rendered():
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", each["metadata"]["name"])
        for value in each["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)


def test_nothing_secret_stands_outside_of_secrets() -> None:
    hub = relayed_inputs()
    words = {
        value.decode()
        for values in hub.secrets.values()
        for key, value in values.items()
        if not key.endswith((".crt", "username", "digest.key"))
    }
    for each in all_rendered():
        if each["kind"] == "Secret":
            continue
        text = json.dumps(each)
        assert not any(word in text for word in words), title(each)


def test_every_container_keeps_restricted_pod_security() -> None:
    for name, template in pod_templates(all_rendered()):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        kinds = {key for volume in spec["volumes"] for key in volume} - {"name"}
        assert kinds <= {"configMap", "secret", "emptyDir", "downwardAPI"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            requests = container["resources"]["requests"].keys()
            assert requests - {"ephemeral-storage"} == {"cpu", "memory"}


def test_the_command_takes_the_arguments_of_every_pod(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text("{}")
    for name, template in pod_templates(all_rendered()):
        (container,) = template["spec"]["containers"]
        words = [str(settings) if each == SETTINGS_FILE else each for each in container["args"]]
        command: click.Command = main
        context = click.Context(main, info_name="pithead")
        # Down the groups to the command that runs, which takes the rest or fails; some groups run.
        while isinstance(command, click.Group) and not words[0].startswith("-"):
            _, inner, words = command.resolve_command(context, words)
            assert inner is not None, name
            command = inner
        command.make_context(name, words, parent=context)


def test_only_edges_may_speak_to_an_api_server() -> None:
    for name, template in pod_templates(all_rendered()):
        wanted = name.endswith("-stratum")
        assert template["spec"]["automountServiceAccountToken"] is wanted, name


def test_whatever_a_pod_mounts_exists_with_its_keys() -> None:
    objects = all_rendered()
    maps = {
        each["metadata"]["name"]: each.get("data", {})
        for each in objects
        if each["kind"] == "ConfigMap"
    }
    secrets = {
        each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "Secret"
    }
    accounts = {each["metadata"]["name"] for each in objects if each["kind"] == "ServiceAccount"}
    for name, template in pod_templates(objects):
        spec = template["spec"]
        assert spec["serviceAccountName"] in accounts, name
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert "settings.json" in maps[volume["configMap"]["name"]], name
            if "secret" in volume and volume["secret"]["secretName"] not in EXTERNAL_SECRETS:
                data = secrets[volume["secret"]["secretName"]]
                for item in volume["secret"]["items"]:
                    assert base64.b64decode(data[item["key"]]), name


def test_every_file_that_settings_name_is_mounted() -> None:
    objects = all_rendered()
    maps = {
        each["metadata"]["name"]: each["data"]["settings.json"]
        for each in objects
        if each["kind"] == "ConfigMap" and "settings.json" in each.get("data", {})
    }
    for name, template in pod_templates(objects):
        spec = template["spec"]
        sources = {volume["name"]: volume for volume in spec["volumes"]}
        files = set()
        for mount in spec["containers"][0]["volumeMounts"]:
            volume = sources[mount["name"]]
            items = volume.get("secret", volume.get("downwardAPI", {})).get("items", ())
            files |= {f"{mount['mountPath']}/{item['path']}" for item in items}
        settings = maps[sources["settings"]["configMap"]["name"]]
        wanted = set(re.findall(r'"(?:fromFile:)?(/run/pithead/[^"]+)"', settings))
        assert wanted == files, name
