"""Objects from an API server: each judged by itself, the sound ones kept."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pithead.manifests import manifests_from_objects, wanted_secrets
from tests.unit.manifests.samples import Object, endpoint, pool, put, scheme
from tests.unit.manifests.served import SECRETS, served_secret
from tests.unit.manifests.test_cluster_checks import coin, hub

pytestmark = pytest.mark.gate


EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "three-regions"


def born(value: Object, stamp: str) -> Object:
    """The object with a time of creation."""
    return put(value, "metadata.creationTimestamp", stamp)


def test_sound_objects_become_manifests() -> None:
    found = manifests_from_objects("default", [scheme(), coin(), hub("b"), hub("a")], SECRETS)
    assert found.problems == {}
    assert [each.metadata.name for each in found.manifests.pools] == ["a", "b"]
    assert found.manifests.namespace == "default"
    assert found.manifests.credentials["rpc"].username == "edge"
    assert found.manifests.secrets["postgres"]["password"] == "fourth"


def test_namespace_without_objects_is_sound() -> None:
    found = manifests_from_objects("empty", [])
    assert (found.manifests.namespace, found.manifests.pools) == ("empty", ())


def test_what_the_server_adds_is_no_mistake() -> None:
    served = hub()
    served["metadata"] |= {
        "uid": "0b3c", "resourceVersion": "12", "generation": 3,
        "creationTimestamp": "2026-01-31T12:00:00Z", "finalizers": ["pithead.dev/x"],
        "managedFields": [{"manager": "kubectl"}],
        "annotations": {"pithead.dev/x": "y", "kopf.zalando.org/last": "{}" * 5000},
    }  # fmt: skip
    served["status"] = {"written": "by another release"}
    assert not manifests_from_objects("default", [served, coin(), scheme()], SECRETS).problems


def test_one_bad_object_does_not_take_down_the_others() -> None:
    bad = put(hub("bad"), "spec.listeners.0.port", 0)
    found = manifests_from_objects("default", [bad, hub("good"), coin(), scheme()], SECRETS)
    assert [each.metadata.name for each in found.manifests.pools] == ["good"]
    (problem,) = found.problems["MiningPool/bad"]
    assert (problem.path, problem.reason) == ("spec.listeners[0].port", "Invalid")


def test_pool_on_a_bad_object_is_told_so() -> None:
    bad = put(scheme(), "spec.feePercent", "100")
    other = hub("other", schemes=[{"name": "second"}])
    objects = [hub(), other, coin(), bad, scheme("second")]
    found = manifests_from_objects("default", objects, SECRETS)
    assert [each.metadata.name for each in found.manifests.pools] == ["other"]
    (problem,) = found.problems["MiningPool/alpha"]
    assert (problem.path, problem.reason) == ("spec.schemes[0].name", "DependencyInvalid")


def test_of_two_that_disagree_the_younger_is_wrong() -> None:
    old = born(hub("zulu"), "2026-01-01T00:00:00Z")
    young = born(hub("alpha", poolId="default.zulu"), "2026-01-02T00:00:00Z")
    found = manifests_from_objects("default", [young, old, coin(), scheme()], SECRETS)
    assert [each.metadata.name for each in found.manifests.pools] == ["zulu"]
    assert set(found.problems) == {"MiningPool/alpha"}


@pytest.mark.parametrize(
    "value",
    [{}, {"kind": "MiningPool"}, {"kind": "MiningPool", "metadata": 5, "spec": []}],
    ids=["empty", "kind", "types"],
)
def test_anything_is_judged_and_nothing_raised(value: Any) -> None:
    assert manifests_from_objects("default", [value]).problems


def test_secret_with_a_value_that_is_no_text_is_read() -> None:
    binary = [put(each, "data.binary", "//79") for each in SECRETS]
    assert not manifests_from_objects("default", [hub(), coin(), scheme()], binary).problems


def test_secrets_are_named_before_they_are_read() -> None:
    listener = {"name": "tls", "port": 1, "tls": {"secretRef": {"name": "certificate"}}}
    objects = [hub(listeners=[listener]), coin(), scheme(), {"spec": {"badSecretRef": 5}}, {}]
    assert wanted_secrets(objects) == ("kafka", "kafka-ca", "postgres", "rpc", "wallet")
    assert wanted_secrets([pool(), endpoint()]) == ()


def test_example_and_its_secrets_are_fit_for_a_cluster() -> None:
    objects = list(yaml.safe_load_all((EXAMPLE / "pool.yaml").read_text()))
    template = list(yaml.safe_load_all((EXAMPLE / "secrets.yaml.template").read_text()))
    secrets = [served_secret(each["metadata"]["name"], **each["stringData"]) for each in template]
    assert tuple(sorted(each["metadata"]["name"] for each in template)) == wanted_secrets(objects)
    found = manifests_from_objects("default", objects, secrets)
    assert found.problems == {}
    (made,) = found.manifests.pools
    assert [region.cluster for region in made.spec.regions] == [None, "us", "asia"]
