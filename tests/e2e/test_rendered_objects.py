"""A real API server takes all that the operator renders: no unknown field, no refusal, no drift."""

import json
from collections.abc import Callable, Iterator

import pytest

from pithead_operator.desired.edge import edge_status_object, render_edge
from pithead_operator.desired.inputs import HubInputs, Object
from pithead_operator.wiring.facts import facts_object
from pithead_operator.wiring.jobs import databases_job, schemes_job, topics_job, wallet_jobs
from pithead_operator.wiring.minting import secret_object
from tests.e2e.bed.cluster import Cluster
from tests.e2e.bed.quick import QuickBed
from tests.unit.operator.samples import HUB_UID, all_edges, example_inputs, hub_inputs, whole_hub

pytestmark = [pytest.mark.full, pytest.mark.needs("cluster"), pytest.mark.timeout(120)]

APPLY = ("apply", "--server-side", "--validate=strict", "--field-manager=pithead-operator")


def rendered(hub: HubInputs) -> list[Object]:
    """Everything, as if all regions were in one cluster; the status object comes once."""
    jobs = (databases_job(hub), topics_job(hub), *wallet_jobs(hub), schemes_job(hub))
    minted = ("pithead-ca", "pithead-tls", "pithead-roles")
    return [
        *(secret_object(hub.namespace, HUB_UID, name, hub.secrets[name]) for name in minted),
        *whole_hub(hub),
        *(each for job in jobs for each in job.objects),
        facts_object(hub, {}),
        edge_status_object(hub),
        *(each for edge in all_edges(hub) for each in render_edge(edge)),
    ]


def moved(objects: list[Object], namespace: str) -> str:
    """The objects in another namespace, as a list that kubectl reads."""
    for each in objects:
        each["metadata"]["namespace"] = namespace
        for subject in each.get("subjects", ()):
            subject["namespace"] = namespace
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


@pytest.fixture
def strict(control_planes: QuickBed, own_namespace: str) -> Iterator[tuple[Cluster, str]]:
    """A namespace that enforces restricted Pod Security."""
    hub = control_planes.hub
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    hub.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": own_namespace, "labels": labels},
        }
    )
    yield hub, own_namespace
    hub.kubectl("delete", "namespace", own_namespace, "--wait=false")


@pytest.mark.parametrize("inputs", [hub_inputs, example_inputs], ids=["sample", "example"])
def test_server_takes_every_object(
    strict: tuple[Cluster, str], inputs: Callable[[], HubInputs]
) -> None:
    hub, namespace = strict
    objects = rendered(inputs())
    text = moved(objects, namespace)
    said = hub.kubectl(*APPLY, "--dry-run=server", "-f", "-", stdin=text).splitlines()
    assert len(said) == len(objects)
    assert all("serverside-applied" in line for line in said), said


def test_pods_are_let_in_where_restricted_pod_security_is_enforced(
    strict: tuple[Cluster, str],
) -> None:
    hub, namespace = strict
    pods = []
    for each in rendered(hub_inputs()):
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is None:
            continue
        name = each["metadata"]["name"]
        # Admission asks for the account before the Deployment's controller would make the pod.
        pod = template["spec"] | {"serviceAccountName": "default"}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod})
    assert len(pods) == 3 + 2 + 5 + 6
    wait_for_account(hub, namespace)
    said = hub.kubectl(*APPLY, "--dry-run=server", "-f", "-", stdin=moved(pods, namespace))
    assert said.count("serverside-applied") == len(pods)


def wait_for_account(hub: Cluster, namespace: str) -> None:
    """Wait for the account that the controller manager makes in each namespace."""
    hub.kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=20s")


def test_applying_again_changes_nothing(strict: tuple[Cluster, str]) -> None:
    hub, namespace = strict
    text = moved([*rendered(hub_inputs())], namespace)
    # Without pods: nothing but our own hand shall touch the objects.
    hub.kubectl("create", "quota", "none", "-n", namespace, "--hard=pods=0")

    def versions() -> dict[str, tuple[int, str]]:
        """Generations, and versions of what no controller writes to."""
        hub.kubectl(*APPLY, "-f", "-", stdin=text)
        controlled = "deployments,cronjobs,jobs,poddisruptionbudgets"
        quiet = "configmaps,secrets,services,serviceaccounts,rolebindings,networkpolicies"
        found = {}
        for kinds, version in ((controlled, ""), (quiet, "resourceVersion")):
            arguments = ("-n", namespace, "-l", "pithead.dev/hub", "-o", "json")
            for each in json.loads(hub.kubectl("get", kinds, *arguments))["items"]:
                metadata = each["metadata"]
                name = f"{each['kind']}/{metadata['name']}"
                found[name] = (metadata.get("generation", 0), metadata.get(version, ""))
        return found

    first = versions()
    assert len(first) == len(rendered(hub_inputs()))
    assert {generation for generation, _ in first.values()} == {0, 1}
    assert versions() == first
