"""Tells the operator what this edge does: one key of a ConfigMap, a few times a minute.

The ConfigMap is made beforehand and this process may patch it by name only. A
merge patch of one key needs no reading before and never meets another edge's.
Nothing here is needed for mining (invariant RegionAutonomy): when the API server
is away it is noted once, and tried again at the next interval.
"""

import asyncio
import json
import logging
import random
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from pithead.config import ReportSettings
from pithead.stratum import metrics
from pithead.stratum.nodes import NodeFacts

VERSION = 1
REQUEST_S_MAX = 5.0
REMOVE_S_MAX = 2.0
"""At the end nobody waits for this."""
JITTER = 0.2
"""Part of the interval by which a report may come early or late, lest all edges ask at once."""
ANSWER_BYTES_MAX = 16 * 1024
ERROR_CHARACTERS_MAX = 256

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts the ServiceAccount's token, which it renews, and the authority."""

logger = logging.getLogger(__name__)


class EdgeReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an edge tells; fields are only ever added."""

    v: int = VERSION
    pool: str
    region: str
    producer: str
    version: str
    connections: int
    accepted: int
    """Shares answered `true` since the process started."""
    work: str
    """Expected hashes credited since then, decimal: it outgrows the integers of JSON readers."""
    log: str
    """`ok`, `away` or, at its byte bound, `full`: with the last two shares are refused."""
    spooling: bool = False
    """Degraded: what is accepted is kept on this machine only, until the log takes it."""
    spool_bytes: int = 0
    """That wait there."""
    spool_batches: int = 0
    spool_seconds: int = 0
    """Age of the oldest."""
    draining: bool
    at: int
    """Unix seconds of this edge's clock."""
    nodes: tuple[NodeFacts, ...]


class ApiServer(NamedTuple):
    """Where reports go, and the files with the right to."""

    url: str
    token: Path
    authority: Path


class ReportFailed(Exception):
    """Raised when the API server did not take a report; the text says why."""


def in_cluster(environment: Mapping[str, str]) -> ApiServer | None:
    """Return the API server that Kubernetes tells its pods of; None outside of a pod."""
    host = environment.get("KUBERNETES_SERVICE_HOST")
    if not host:
        return None
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    name = f"[{host}]" if ":" in host else host
    return ApiServer(f"https://{name}:{port}", ACCOUNT / "token", ACCOUNT / "ca.crt")


class Reporter:
    """Keeps one key up to date."""

    def __init__(
        self, settings: ReportSettings, api: ApiServer, tell: Callable[[], EdgeReport]
    ) -> None:
        """`tell` is asked at each report and must not block."""
        self._settings = settings
        self._api = api
        self._tell = tell
        self._trouble = False
        # Spreads load, guards nothing.
        self._random = random.Random()  # noqa: S311

    async def run(self) -> None:
        """Report until cancelled, then take the own key away, best effort."""
        try:
            while True:
                await self.report()
                stretch = self._random.uniform(1 - JITTER, 1 + JITTER)
                await asyncio.sleep(self._settings.interval_ms / 1000 * stretch)
        finally:
            await self.remove()

    async def report(self) -> None:
        """Report once; a failure is noted and counted, never raised."""
        try:
            await self._patch(msgspec.json.encode(self._tell()).decode(), REQUEST_S_MAX)
        except ReportFailed as error:
            self._failed(str(error), None)
            return
        except Exception as error:
            # A slip of ours must not end an edge over something that mining does not need.
            self._failed(repr(error), error)
            return
        if self._trouble:
            logger.info("the API server takes reports again")
        self._trouble = False

    def _failed(self, why: str, unexpected: Exception | None) -> None:
        metrics.REPORTS_FAILED.inc()
        if not self._trouble:
            text = "the API server takes no report, mining goes on: %s"
            logger.warning(text, why, exc_info=unexpected)
        self._trouble = True

    async def remove(self) -> None:
        """Take the own key away; what is left behind when this fails ages visibly."""
        try:
            await self._patch(None, REMOVE_S_MAX)
        except ReportFailed as error:
            logger.info("the last report stays behind: %s", error)

    async def _patch(self, value: str | None, limit_s: float) -> None:
        """Set the key, or remove it (None); raises ReportFailed."""
        settings = self._settings
        url = (
            f"{self._api.url}/api/v1/namespaces/{settings.namespace}"
            f"/configmaps/{settings.config_map}"
        )
        try:
            async with asyncio.timeout(limit_s):
                # Both are renewed while we run.
                token, trust = await asyncio.to_thread(_credentials, self._api)
                async with (
                    aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session,
                    session.patch(
                        url,
                        params={"fieldManager": "pithead-edge"},
                        data=json.dumps({"data": {settings.key: value}}),
                        headers={
                            "Authorization": f"Bearer {token}",
                            "Content-Type": "application/merge-patch+json",
                        },
                        allow_redirects=False,
                    ) as answer,
                ):
                    if answer.status != 200:
                        raise ReportFailed(await _said(answer, url))
        except TimeoutError as error:
            raise ReportFailed(f"{url}: no answer within {limit_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ReportFailed(f"{url}: {error}"[:ERROR_CHARACTERS_MAX]) from error


def _credentials(api: ApiServer) -> tuple[str, ssl.SSLContext]:
    token = api.token.read_text().strip()
    return token, ssl.create_default_context(cafile=api.authority)


async def _said(answer: aiohttp.ClientResponse, url: str) -> str:
    """Return the server's own sentence, cut short: it may be anything."""
    body = await answer.content.read(ANSWER_BYTES_MAX)
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.reason or ""
    return f"{url}: {answer.status}: {text}"[:ERROR_CHARACTERS_MAX]
