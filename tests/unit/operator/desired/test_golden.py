"""The objects of the example of three regions, as files that a person can read and compare.

After an intended change, `PITHEAD_GOLDEN=write` makes this test write them anew;
the difference is then part of the review. Contents of Secrets stand there as
digests.
"""

import copy
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pithead_operator.desired.edge import edge_status_object, render_edge
from pithead_operator.desired.inputs import Object
from pithead_operator.wiring.jobs import (
    analytics_job,
    databases_job,
    schemes_job,
    topics_job,
    wallet_jobs,
)
from tests.unit.operator.samples import all_edges, example_inputs, whole_hub

pytestmark = pytest.mark.gate

GOLDEN = Path(__file__).parent / "golden"
WRITE = os.environ.get("PITHEAD_GOLDEN") == "write"


class _Readable(yaml.SafeDumper):
    """Texts of several lines stand as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Readable, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Readable.add_representer(str, _text)


def rendered() -> dict[str, list[Object]]:
    hub = example_inputs()
    charts = analytics_job(hub)
    assert charts is not None
    jobs = (databases_job(hub), topics_job(hub), *wallet_jobs(hub), schemes_job(hub), charts)
    files = {
        "hub": [*whole_hub(hub), edge_status_object(hub)],
        "wiring": [each for job in jobs for each in job.objects],
    }
    for edge in all_edges(hub):
        files[edge.region.id] = list(render_edge(edge))
    return files


def readable(objects: list[Object]) -> str:
    shown = copy.deepcopy(objects)
    for each in shown:
        if each["kind"] == "Secret":
            each["data"] = {
                key: "sha256:" + hashlib.sha256(value.encode()).hexdigest()[:16]
                for key, value in each["data"].items()
            }
    return yaml.dump_all(shown, Dumper=_Readable, sort_keys=False, width=100)


@pytest.mark.parametrize("name", sorted(rendered()))
def test_objects_are_those_of_the_golden_file(name: str) -> None:
    made = readable(rendered()[name])
    path = GOLDEN / f"{name}.yaml"
    if WRITE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(made)
    assert made == path.read_text(), "PITHEAD_GOLDEN=write writes an intended change"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(rendered())
