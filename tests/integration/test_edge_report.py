"""An edge's report on a real API server, with the only right that edges have."""

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from pithead.coins.nodeset import NodeSet
from pithead.coins.registry import chain_params
from pithead.config import ReportSettings
from pithead.log.file_log import FileLog
from pithead.stratum.report import ApiServer, EdgeReport, Reporter
from pithead.stratum.service import EdgeProcess, monotonic_ms
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.edge import POOL, RunningEdge, address, edge_settings
from tests.support.stratum_client import StratumClient

if TYPE_CHECKING:
    from tests.e2e.bed.cluster import Cluster
    from tests.e2e.bed.quick import QuickBed

pytestmark = [pytest.mark.full, pytest.mark.needs("cluster"), pytest.mark.timeout(120)]

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
STATUS = "pithead-edge-status"
KEY = "edge-0"
TOKEN_KEY = "main.eu-stratum-5d7-x"
"""A pod's name, dots included."""

OBJECTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {{name: edge, namespace: {namespace}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: pithead-edge-status, namespace: {namespace}}}
data: {{another: kept}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: somebody-elses, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: edge, namespace: {namespace}}}
rules:
  - apiGroups: [""]
    resources: [configmaps]
    resourceNames: [pithead-edge-status]
    verbs: [patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: edge, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: edge}}
subjects: [{{kind: ServiceAccount, name: edge, namespace: {namespace}}}]
"""


@dataclass
class Region:
    """A namespace with what an edge's pod is given."""

    cluster: "Cluster"
    namespace: str
    api: ApiServer

    def data(self, name: str = STATUS) -> dict[str, str]:
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{name}"
        found: dict[str, Any] = self.cluster.api.call(path)
        return found.get("data") or {}

    def settings(self, key: str = KEY, config_map: str = STATUS) -> ReportSettings:
        return ReportSettings(
            namespace=self.namespace, config_map=config_map, key=key, interval_ms=200
        )


@pytest.fixture
def region(control_planes: "QuickBed", own_namespace: str, tmp_path: Path) -> "Iterator[Region]":
    cluster = control_planes.hub
    cluster.kubectl("create", "namespace", own_namespace)
    cluster.kubectl("apply", "-f", "-", stdin=OBJECTS.format(namespace=own_namespace))
    token = tmp_path / "token"
    token.write_text(cluster.kubectl("create", "token", "edge", "-n", own_namespace))
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    authority = tmp_path / "ca.crt"
    authority.write_bytes(
        base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
    )
    yield Region(cluster, own_namespace, ApiServer(cluster.server, token, authority))
    cluster.kubectl("delete", "namespace", own_namespace, "--wait=false")


async def test_an_edge_reports_while_the_api_server_comes_and_goes(
    tmp_path: Path, region: Region
) -> None:
    chain = devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)
    async with DevchainTask(chain) as node:
        settings = edge_settings(tmp_path, PARAMS, node.access)
        edge = RunningEdge(settings)
        nodes = NodeSet(PARAMS, settings.coin.nodes, now_ms=monotonic_ms, poll_interval_ms=100)
        async with nodes:
            process = EdgeProcess(settings, nodes, PARAMS, FileLog(tmp_path / "log"))
            edge.task = asyncio.create_task(process.run(edge.stop))
            await edge.until_ready()
            reporter = Reporter(region.settings(TOKEN_KEY), region.api, process.told)
            reporting = asyncio.create_task(reporter.run())
            try:
                async with StratumClient(PARAMS, edge.port) as client:
                    await client.login(address(PARAMS, 1))
                    job = await client.job()
                    for number in range(3):
                        assert (await client.submit(client.solve(job, number)))["result"] is True
                    told = await until_told(region, accepted=3)
                    assert (told.pool, told.region, told.connections) == (POOL, "local", 1)
                    assert int(told.work) == 3 << PARAMS.shift
                    assert [(n.name, n.reachable, n.active) for n in told.nodes] == [
                        (settings.coin.nodes[0].name, True, True)
                    ]
                    assert region.data()["another"] == "kept"

                    await asyncio.to_thread(region.cluster.pause_api)
                    try:
                        for number in range(3, 30):
                            share = client.solve(job, number)
                            assert (await client.submit(share))["result"] is True
                            await asyncio.sleep(0.02)
                    finally:
                        await asyncio.to_thread(region.cluster.resume_api)
                    await until_told(region, accepted=30)
            finally:
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
                await edge.end()
    assert region.data() == {"another": "kept"}, "the own key went with the process"


async def until_told(region: Region, accepted: int) -> EdgeReport:
    async with asyncio.timeout(20):
        while True:
            text = (await asyncio.to_thread(region.data)).get(TOKEN_KEY)
            if text is not None:
                told = msgspec.json.decode(text, type=EdgeReport)
                if told.accepted >= accepted:
                    return told
            await asyncio.sleep(0.05)


async def test_an_edge_may_patch_its_config_map_and_nothing_else(
    region: Region, caplog: pytest.LogCaptureFixture
) -> None:
    def tell() -> EdgeReport:
        return msgspec.convert(
            json.loads(
                '{"v":1,"pool":"p","region":"r","producer":"x","version":"0","connections":0,'
                '"accepted":0,"work":"0","log":"ok","draining":false,"at":1,"nodes":[]}'
            ),
            EdgeReport,
        )

    await Reporter(region.settings(), region.api, tell).report()
    assert json.loads(region.data()[KEY])["pool"] == "p"
    other = Reporter(region.settings(config_map="somebody-elses"), region.api, tell)
    await other.report()
    assert "403: configmaps " in caplog.text
    assert region.data("somebody-elses") == {}
    missing = region.settings(config_map="missing")
    await Reporter(missing, region.api, tell).report()
    await Reporter(region.settings(), region.api, tell).remove()
    assert region.data() == {"another": "kept"}
