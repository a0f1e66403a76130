"""RegionAutonomy: reports go out when the API server takes them, and mining never notices.

The API server here is a small double over real TLS: it keeps what it was sent, and misbehaves as
told. A real one is asked in `tests/integration/test_edge_report.py`.
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pithead.config import ReportSettings, TlsFiles
from pithead.stratum import report as report_module
from pithead.stratum.nodes import NodeFacts
from pithead.stratum.report import ACCOUNT, ApiServer, EdgeReport, Reporter, in_cluster
from tests.support.certificates import Authority

pytestmark = pytest.mark.gate

SETTINGS = ReportSettings(
    namespace="pools", config_map="pithead-edge-status", key="edge-7", interval_ms=40
)
REPORT = EdgeReport(
    pool="pools.main",
    region="eu",
    producer="01a1fdf5-6ea9-7183-99a1-a742f8a711cc",
    version="0.1.0",
    connections=3,
    accepted=12,
    work=str(1 << 70),
    log="ok",
    draining=False,
    at=1_800_000_000,
    nodes=(
        NodeFacts(name="a", reachable=True, active=True, height=7, latency_ms=2, error=None),
        NodeFacts(name="b", reachable=False, active=False, height=0, latency_ms=0, error="away"),
    ),
)


@dataclass
class Double:
    """What the API server got, and how it answers."""

    requests: list[web.Request] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    status: int = 200
    answer: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.bodies.append(json.loads(await request.read()))
        self.tokens.append(request.headers["Authorization"])
        if self.hangs:
            await asyncio.sleep(60)
        return web.Response(status=self.status, text=self.answer, headers=self.headers)

    @property
    def values(self) -> list[Any]:
        """What the own key was set to, in order."""
        return [body["data"][SETTINGS.key] for body in self.bodies]


@dataclass
class Scene:
    double: Double
    api: ApiServer
    reporter: Reporter
    authority: Authority


async def serve(double: Double, files: TlsFiles, port: int = 0) -> tuple[web.AppRunner, int]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", double.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    return runner, int(runner.addresses[0][1])


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    authority = Authority(tmp_path / "ca")
    token = tmp_path / "token"
    token.write_text("first\n")
    double = Double()
    runner, port = await serve(double, authority.leaf("api", "127.0.0.1"))
    api = ApiServer(f"https://127.0.0.1:{port}", token, authority.file)
    try:
        yield Scene(double, api, Reporter(SETTINGS, api, lambda: REPORT), authority)
    finally:
        await runner.cleanup()


async def test_a_report_is_a_merge_patch_of_the_own_key(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.reporter.report()
        request = it.double.requests[0]
        assert request.method == "PATCH"
        assert request.path == "/api/v1/namespaces/pools/configmaps/pithead-edge-status"
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        assert it.double.tokens == ["Bearer first"]
        assert list(it.double.bodies[0]) == ["data"]
        assert list(it.double.bodies[0]["data"]) == ["edge-7"]
        assert json.loads(it.double.values[0]) == {
            "v": 1,
            "pool": "pools.main",
            "region": "eu",
            "producer": "01a1fdf5-6ea9-7183-99a1-a742f8a711cc",
            "version": "0.1.0",
            "connections": 3,
            "accepted": 12,
            "work": "1180591620717411303424",
            "log": "ok",
            "spooling": False,
            "spoolBytes": 0,
            "spoolBatches": 0,
            "spoolSeconds": 0,
            "draining": False,
            "at": 1_800_000_000,
            "nodes": [
                {
                    "name": "a",
                    "reachable": True,
                    "active": True,
                    "height": 7,
                    "latencyMs": 2,
                    "error": None,
                },
                {
                    "name": "b",
                    "reachable": False,
                    "active": False,
                    "height": 0,
                    "latencyMs": 0,
                    "error": "away",
                },
            ],
        }


async def test_reports_go_on_with_jitter_and_the_key_goes_with_the_process(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = asyncio.create_task(it.reporter.run())
        async with asyncio.timeout(5):
            while len(it.double.bodies) < 5:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert it.double.values[-1] is None
        assert all(value is not None for value in it.double.values[:-1])


async def test_token_and_authority_are_read_anew(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.reporter.report()
        it.api.token.write_text("second")
        await it.reporter.report()
        assert it.double.tokens == ["Bearer first", "Bearer second"]
        other = Authority(tmp_path / "other")
        original = it.api.authority.read_bytes()
        it.api.authority.write_bytes(other.file.read_bytes())
        await it.reporter.report()
        assert len(it.double.bodies) == 2, "nothing is told to a server that is not trusted"
        it.api.authority.write_bytes(original)
        await it.reporter.report()
        assert len(it.double.bodies) == 3


async def test_a_refusal_is_logged_once_with_the_servers_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with scene(tmp_path) as it:
        it.double.status = 403
        it.double.answer = json.dumps({"message": "edge-7 may not patch " + "x" * 10_000})
        for _ in range(3):
            await it.reporter.report()
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "403: edge-7 may not patch" in warnings[0].getMessage()
        assert len(warnings[0].getMessage()) < 400
        assert "first" not in caplog.text, "the token stays secret"
        it.double.status = 200
        await it.reporter.report()
        assert "takes reports again" in caplog.text


@pytest.mark.parametrize("status", [302, 404, 500, 503])
@pytest.mark.parametrize("answer", ["", "not json", "[]", '{"message": null}'])
async def test_any_answer_is_survived_and_no_redirect_is_followed(
    tmp_path: Path, status: int, answer: str
) -> None:
    async with scene(tmp_path) as it:
        it.double.status, it.double.answer = status, answer
        it.double.headers = {"Location": f"{it.api.url}/elsewhere"}
        await it.reporter.report()
        assert [request.path for request in it.double.requests] == [
            "/api/v1/namespaces/pools/configmaps/pithead-edge-status"
        ]


async def test_a_server_that_hangs_or_is_gone_costs_a_bounded_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(report_module, "REQUEST_S_MAX", 0.3)
    monkeypatch.setattr(report_module, "REMOVE_S_MAX", 0.3)
    async with scene(tmp_path) as it:
        it.double.hangs = True
        began = time.monotonic()
        await it.reporter.report()
        await it.reporter.remove()
        assert time.monotonic() - began < 3
        assert "no answer within 0.3 s" in caplog.text
    await it.reporter.report()
    it.api.token.unlink()
    await it.reporter.report()
    await it.reporter.remove()


async def test_a_slip_of_ours_does_not_end_the_edge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def tell() -> EdgeReport:
        raise LookupError("no such node")

    async with scene(tmp_path) as it:
        reporter = Reporter(SETTINGS, it.api, tell)
        await reporter.report()
        await reporter.report()
        assert caplog.text.count("LookupError('no such node')") == 1


def test_the_api_server_is_the_one_that_pods_are_told_of() -> None:
    assert in_cluster({}) is None
    four = in_cluster({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert four == ApiServer("https://10.96.0.1:6443", ACCOUNT / "token", ACCOUNT / "ca.crt")
    six = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert six is not None
    assert six.url == "https://[fd00::1]:443"
