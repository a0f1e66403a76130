"""What is written, what is left alone, what goes and in which order."""

from typing import Any

import pytest

from pithead_operator.regions.kinds import BY_NAME
from pithead_operator.regions.plan import Applied, must_write, owned, removal, stamped
from pithead_operator.regions.seen import HASH_ANNOTATION, Seen, newer, seen

pytestmark = pytest.mark.gate

Object = dict[str, Any]


def item(kind: str = "ConfigMap", name: str = "a", **more: Any) -> Object:
    labels = {"pithead.dev/owner": "ns.pool", "pithead.dev/pool": "pool"}
    return {
        "kind": kind,
        "metadata": {
            "name": name,
            "uid": f"uid-{kind}-{name}",
            "resourceVersion": "10",
            "generation": 1,
            "labels": labels,
        },
    } | more


def look(value: Object) -> Seen:
    return seen(BY_NAME[value["kind"]], value)


def test_an_absent_object_is_written() -> None:
    assert must_write("d", None, Applied("d", "m"))


def test_after_a_restart_each_object_is_written_once() -> None:
    assert must_write("d", look(item()), None)


def test_what_we_wrote_and_nobody_touched_is_left_alone() -> None:
    observed = look(item())
    assert not must_write("d", observed, Applied("d", observed.mark))


def test_another_desired_form_is_written() -> None:
    observed = look(item())
    assert must_write("e", observed, Applied("d", observed.mark))


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret", "Service", "RoleBinding"])
def test_any_later_version_of_kinds_without_generations_is_drift(kind: str) -> None:
    before, after = item(kind), item(kind)
    after["metadata"]["resourceVersion"] = "11"
    assert look(before).mark != look(after).mark


@pytest.mark.parametrize("kind", ["Deployment", "PodDisruptionBudget", "CronJob", "Job"])
def test_a_status_that_moves_is_no_drift_where_specs_are_counted(kind: str) -> None:
    before, after = item(kind), item(kind, status={"readyReplicas": 3})
    after["metadata"]["resourceVersion"] = "11"
    after["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "2"}
    assert look(before).mark == look(after).mark


def test_a_spec_or_label_that_changes_is_drift_where_specs_are_counted() -> None:
    before, spec, label = item("Deployment"), item("Deployment"), item("Deployment")
    spec["metadata"]["generation"] = 2
    label["metadata"]["labels"] = {"pithead.dev/owner": "someone"}
    assert len({look(each).mark for each in (before, spec, label)}) == 3


def test_what_edges_write_into_their_report_is_no_drift() -> None:
    labels = {"app.kubernetes.io/component": "status"}
    before = item(data={"pod-1": "{}"})
    after = item(data={"pod-1": '{"connections":1}'})
    for each, version in ((before, "1"), (after, "2")):
        each["metadata"] |= {"labels": labels, "resourceVersion": version}
    assert look(before).mark == look(after).mark
    assert look(after).data == {"pod-1": '{"connections":1}'}


def test_the_hash_is_of_the_desired_form_with_its_owner() -> None:
    plain = {"kind": "Service", "metadata": {"name": "a", "annotations": {"x": "y"}}}
    anchors = [look(item(name="anchor")), look(item(name="anchor") | {})]
    one, first = stamped(owned(plain, anchors[0]))
    two, second = stamped(owned(plain, anchors[1]))
    assert first == second == one["metadata"]["annotations"][HASH_ANNOTATION]
    assert one == two
    assert one["metadata"]["annotations"]["x"] == "y"
    assert one["metadata"]["ownerReferences"][0]["uid"] == "uid-ConfigMap-anchor"
    assert stamped(plain)[1] != first
    assert "ownerReferences" not in plain["metadata"]


def test_pods_go_before_their_address_and_anchors_go_last() -> None:
    there = [
        look(item("Service")),
        look(item("ConfigMap")),
        look(item("Deployment")),
        look(item("PodDisruptionBudget")),
        look(item("Secret")),
    ]
    anchor = item("ConfigMap", "0-anchor")
    anchor["metadata"]["labels"] = {"app.kubernetes.io/component": "anchor"}
    gone = removal([look(anchor), *there], set())
    assert [each.kind for each in gone.now] == ["PodDisruptionBudget", "Deployment"]
    assert [each.name for each in gone.later] == ["a", "a", "a", "0-anchor"]
    assert gone.later[0].kind == "Service"


def test_what_is_wanted_stays_and_what_a_controller_made_is_its_own() -> None:
    job = item("Job", "payouts-123")
    job["metadata"]["ownerReferences"] = [{"controller": True, "uid": "x"}]
    gone = removal([look(item()), look(job)], {("ConfigMap", "a")})
    assert (gone.now, gone.later) == ((), ())


@pytest.mark.parametrize(
    ("one", "other", "later"),
    [("10", "9", True), ("9", "10", False), ("9", "9", False), ("a", "b", True)],
)
def test_versions_are_compared_as_numbers(one: str, other: str, later: bool) -> None:
    assert newer(one, other) is later
