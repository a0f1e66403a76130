"""The bed leaves the machine as it found it, also when its processes were killed before.

First among the end-to-end tests by its name, since it ends the bed that the others share.
"""

import os
from pathlib import Path

import pytest

from tests.e2e.bed import cleaning
from tests.e2e.bed.bare import STATE, BareBed
from tests.e2e.bed.machine import on_kind
from tests.e2e.bed.processes import end_all, marked
from tests.e2e.bed.shell import run

pytestmark = [
    pytest.mark.full,
    pytest.mark.needs("containers"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(on_kind(), reason="kind has its own way to clean up"),
]


def machine() -> dict[str, object]:
    """What a bed could leave behind, without what changes by itself."""
    rules = run(["/usr/sbin/iptables-save"]) + run(["/usr/sbin/ip6tables-save"])
    return {
        "links": sorted(os.listdir("/sys/class/net")),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "mounts": sorted(
            line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ),
        "routes": run(["/usr/sbin/ip", "route", "show", "table", "all"]),
        "rules": [line for line in rules.splitlines() if line.startswith(("-A", ":KUBE"))],
        "sysctls": {name: (cleaning.SYSCTL / name).read_text() for name in cleaning.KEPT_SYSCTLS},
        "folders": [path.exists() for path in (*cleaning.FIXED_PATHS, *cleaning.SHARED_FOLDERS)],
        "shims": sorted(Path("/run/containerd/s").glob("*")),
    }


@pytest.fixture(scope="module", autouse=True)
def nobodys() -> None:
    """Leave alone what a person may be using."""
    if cleaning.leftovers(STATE):
        pytest.skip("somebody's bed is up; `make bed-down` ends it")


def test_killed_bed_is_removed_without_a_trace() -> None:
    before = machine()
    bed = BareBed()
    assert bed.up()
    assert machine() != before
    end_all(marked(STATE))
    assert cleaning.leftovers(STATE)
    bed.down()
    assert cleaning.leftovers(STATE) == []
    assert machine() == before


def test_down_of_nothing_is_no_error() -> None:
    BareBed().down()
