"""Real API servers boot quickly, take the project's CRDs, and can be hurt and mended."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.bed.processes import marked
from tests.e2e.bed.quick import QuickBed
from tests.e2e.bed.shell import CommandFailed
from tests.e2e.bed.waiting import until

pytestmark = [pytest.mark.full, pytest.mark.needs("cluster"), pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[3]

BOOT_S_MAX = 10


def test_control_plane_boots_in_time_and_leaves_nothing_behind() -> None:
    started = time.monotonic()
    with QuickBed(["eu"]) as bed:
        took = time.monotonic() - started
        state = bed.state
        assert marked(state)
    assert not state.exists()
    assert not marked(state)
    assert took < BOOT_S_MAX


def test_owner_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    told = tmp_path / "state"
    code = (
        "import sys, time, pathlib\n"
        "from tests.e2e.bed.quick import QuickBed\n"
        "bed = QuickBed(['eu'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(bed.state))\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(told)], cwd=ROOT) as owner:
        until("the bed", told.exists, limit_s=60)
        state = Path(until("its folder's name", told.read_text, limit_s=5))
        owner.kill()
    until("the end of its processes", lambda: not marked(state), limit_s=10)
    until("the end of its files", lambda: not state.exists(), limit_s=10)


def test_project_crds_are_established(control_planes: QuickBed) -> None:
    hub = control_planes.hub
    hub.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    hub.kubectl("wait", "--for=condition=Established", "--timeout=20s", "-f", str(ROOT / "crds"))
    rows = hub.kubectl("get", "crd", "-o", "name").split()
    assert "customresourcedefinition.apiextensions.k8s.io/miningpools.pithead.dev" in rows


def test_hung_api_server_answers_nobody_until_it_is_resumed(control_planes: QuickBed) -> None:
    region = control_planes.clusters["us"]
    region.pause_api()
    try:
        with pytest.raises(TimeoutError):
            region.api.call("/readyz", limit_s=1)
    finally:
        region.resume_api()
    assert region.api.call("/readyz", limit_s=20) == "ok"


def test_killed_api_server_comes_back_with_its_objects(
    control_planes: QuickBed, own_namespace: str
) -> None:
    region = control_planes.clusters["asia"]
    region.kubectl("create", "namespace", own_namespace)
    region.kill_api()
    with pytest.raises(ConnectionError):
        region.api.call("/readyz")
    region.start_api()
    assert own_namespace in region.kubectl("get", "namespaces", "-o", "name")


def test_user_without_rights_is_refused(control_planes: QuickBed, tmp_path: Path) -> None:
    hub = control_planes.hub
    path = tmp_path / "kubeconfig"
    path.write_text(hub.control.kubeconfig_for("nobody-token", "nobody"))
    with pytest.raises(CommandFailed, match="Forbidden"):
        hub.kubectl("--kubeconfig", str(path), "get", "secrets")
