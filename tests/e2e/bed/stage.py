"""The three-regions example on the bed: charts installed, regions joined, pool applied, miners.

What a person would type stands here as he would type it: helm for the charts, kubectl for the rest.
"""

import asyncio
import base64
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import yaml
from clickhouse_driver import Client

from pithead.coins.registry import chain_params
from pithead.miner.demo import demo_address
from pithead.miner.fleet import Fleet
from pithead.miner.record import Answer, SubmitRecord
from pithead.miner.worker import WorkerSpec
from tests.e2e.bed import images
from tests.e2e.bed.backing import DATABASE, Backing
from tests.e2e.bed.bed import Bed, RegionCluster
from tests.e2e.bed.build import cache
from tests.e2e.bed.pki import Authority
from tests.e2e.bed.waiting import until

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/three-regions"
SYSTEM = "pithead-system"
NAMESPACE = "pithead"
REPOSITORY = "bed.invalid/pithead"
PARAMS = chain_params("litecoin", "regtest")
WITH_BOOKS = ("shares", "rewards", "ledger", "payouts")
MEMBERS = ("us", "asia")
"""Regions besides the hub."""


@dataclass
class Miners:
    """Accounts that mine at one region's Service, and what each of them was answered."""

    url: str
    accounts: list[str]
    hashrate: float = 0.6
    """Of each account: one share a second in all regions, and nearly every share is a block."""
    true: Counter[str] = field(default_factory=Counter)
    refused: Counter[int | None] = field(default_factory=Counter)
    unanswered: int = 0

    def __post_init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self.fleet: Fleet | None = None

    @property
    def accepted(self) -> int:
        """Shares answered `true` to all accounts."""
        return self.true.total()

    def start(self) -> None:
        """Mine in a thread of its own until `stop`; nothing when it mines already."""
        if self._thread is not None:
            return
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)

    def _run(self, started: threading.Event) -> None:
        async def mine() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            workers = [WorkerSpec(f"{each}.rig", hashrate=self.hashrate) for each in self.accounts]
            self.fleet = Fleet(self.url, workers, algorithm="scrypt", recorder=self._take)
            started.set()
            await self.fleet.run(self._stop)

        asyncio.run(mine())

    def stop(self) -> None:
        """End it, with the answers that are still out."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)
            self._thread = None

    def wait_accepted(self, more: int, limit_s: float) -> float:
        """Wait until so many further shares are answered `true`; returns the seconds it took."""
        began, target = time.monotonic(), self.accepted + more
        until(
            f"{more} further accepted shares at {self.url}",
            lambda: self.accepted >= target,
            limit_s=limit_s,
            every_s=0.05,
            diagnose=lambda: f"true {self.true}, refused {self.refused}, {self.unanswered} open",
        )
        return time.monotonic() - began

    def _take(self, record: SubmitRecord) -> None:
        if record.answer is Answer.TRUE:
            self.true[record.login.partition(".")[0]] += 1
        elif record.answer is Answer.NONE:
            self.unanswered += 1
        else:
            self.refused[record.code] += 1


class Stage:
    """The example's pool on the bed and the servers beside it."""

    def __init__(self, bed: Bed, backing: Backing) -> None:
        self.bed = bed
        self.backing = backing
        self.image = images.build(f"{REPOSITORY}:{images.project_tag()}", cache().parent / "images")
        self.applied_at = 0.0
        self.miners: dict[str, Miners] = {}

    @property
    def hub(self) -> RegionCluster:
        """The hub, region eu."""
        return self.bed.hub

    @property
    def pool(self) -> str:
        """Name of the example's MiningPool."""
        return str(self._example("MiningPool")["metadata"]["name"])

    @property
    def coin(self) -> str:
        """Name of the example's CoinEndpoint."""
        return str(self._example("CoinEndpoint")["metadata"]["name"])

    @property
    def example(self) -> Path:
        """Folder of the manifests that are applied."""
        return EXAMPLE

    def _example(self, kind: str) -> dict[str, Any]:
        for path in sorted(EXAMPLE.glob("*.yaml")):
            for document in yaml.safe_load_all(path.read_text()):
                if document and document["kind"] == kind:
                    return dict(document)
        raise LookupError(kind)

    def install(self) -> None:
        """Install the charts and join the regions."""
        self.bed.import_image(self.image.archive)
        tag = self.image.reference.rpartition(":")[2]
        self.hub.helm(
            *("install", "pithead", str(ROOT / "charts/pithead"), "-n", SYSTEM),
            *("--create-namespace", "--set", f"image.repository={REPOSITORY}"),
            *("--set", f"image.tag={tag}", "--set", "image.pullPolicy=Never"),
        )
        for region in MEMBERS:
            cluster = self.bed.clusters[region]
            cluster.helm(
                *("install", "pithead-region", str(ROOT / "charts/pithead-region")),
                *("-n", SYSTEM, "--create-namespace"),
            )
            self.hub.apply(self.region_secret(region))
        self.hub.wait_rollout("deployment/pithead-operator", SYSTEM)

    def region_secret(self, region: str) -> dict[str, Any]:
        """Return the Secret that the region chart's notes tell to make."""
        cluster = self.bed.clusters[region]
        path = f"/api/v1/namespaces/{SYSTEM}/secrets/pithead-hub-token"
        data = until(
            f"the token of region {region}",
            lambda: (cluster.api.found(path) or {}).get("data", {}),
            limit_s=20,
        )
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": region,
                    "cluster": {
                        "server": cluster.server,
                        "certificate-authority-data": data["ca.crt"],
                    },
                }
            ],
            "users": [{"name": "hub", "user": {"token": base64.b64decode(data["token"]).decode()}}],
            "contexts": [{"name": region, "context": {"cluster": region, "user": "hub"}}],
            "current-context": region,
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": f"cluster-{region}",
                "namespace": SYSTEM,
                "labels": {"pithead.dev/cluster": region},
            },
            "stringData": {"kubeconfig": yaml.safe_dump(kubeconfig)},
        }

    def make_secrets(self) -> None:
        """Make what the manifests name: credentials at the hub, a certificate in each region."""
        for each in self.backing.secrets(NAMESPACE):
            self.hub.apply(each)
        for name in self.tls_secrets():
            for region, cluster in self.bed.clusters.items():
                authority = Authority(
                    self.backing.directory / "tls" / region, f"miners of {region}"
                )
                authority.issue("edge", region, names=[f"{region}.pithead.internal"])
                certificate, key = authority.folder / "edge.crt", authority.folder / "edge.key"
                cluster.apply(
                    {
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "metadata": {"name": name, "namespace": NAMESPACE},
                        "type": "kubernetes.io/tls",
                        "stringData": {
                            "tls.crt": certificate.read_text(),
                            "tls.key": key.read_text(),
                        },
                    }
                )

    def tls_secrets(self) -> set[str]:
        """Names of the certificates that the example's listeners want."""
        listeners = self._example("MiningPool")["spec"]["listeners"]
        return {each["tls"]["secretRef"]["name"] for each in listeners if "tls" in each}

    def apply(self) -> None:
        """Apply the example; what comes after is the operator's."""
        self.applied_at = time.monotonic()
        self.hub.kubectl("-n", NAMESPACE, "apply", "-f", str(EXAMPLE))

    def edge(self, region: str) -> str:
        """Name of a region's edge objects."""
        return f"{self.pool}-{region}-stratum"

    def url(self, region: str) -> str:
        """Where miners connect in a region: its Service's address, first listener without TLS."""
        return f"stratum+tcp://{self._address(region)}:{self._port(tls=False)}"

    def tls_address(self, region: str) -> tuple[str, int]:
        """The same for the first listener with TLS."""
        return self._address(region), self._port(tls=True)

    def authority(self, region: str) -> Path:
        """The certificate authority of a region's listeners."""
        return self.backing.directory / "tls" / region / "ca.crt"

    def _address(self, region: str) -> str:
        return self.bed.clusters[region].balancer_address(self.edge(region), NAMESPACE, 60)

    def _port(self, *, tls: bool) -> int:
        listeners = self._example("MiningPool")["spec"]["listeners"]
        return int(next(each["port"] for each in listeners if ("tls" in each) == tls))

    def mine(self, region: str, *, accounts: int = 2) -> Miners:
        """Start miners in a region, with accounts that no other region has."""
        miners = self.miners.get(region)
        if miners is None:
            seed = f"{region} of the bed".encode()
            names = [demo_address(PARAMS, seed, index)[0] for index in range(accounts)]
            miners = self.miners[region] = Miners("", names)
        # A Service that was made again may have another address.
        miners.url = self.url(region)
        miners.start()
        return miners

    def stop_mining(self) -> Counter[str]:
        """Stop all miners; returns what each account was answered `true` since the beginning."""
        for each in self.miners.values():
            each.stop()
        total: Counter[str] = Counter()
        for each in self.miners.values():
            total += each.true
        return total

    def look(self, kind: str, name: str) -> dict[str, Any]:
        """Return one of the three kinds as the hub has it."""
        path = f"/apis/pithead.dev/v1alpha1/namespaces/{NAMESPACE}/{kind}/{name}"
        found: dict[str, Any] = self.hub.api.found(path) or {}
        return found

    def conditions(self, kind: str = "miningpools", name: str = "") -> dict[str, dict[str, Any]]:
        """Return the conditions of one object by type."""
        status = self.look(kind, name or self.pool).get("status", {})
        return {each["type"]: each for each in status.get("conditions", [])}

    def region_condition(self, region: str, kind: str) -> dict[str, Any]:
        """Return one condition of a region; empty when it is not told."""
        status = self.look("miningpools", self.pool).get("status", {})
        for found in status.get("regions", []):
            for each in found.get("conditions", []):
                if (found["id"], each["type"]) == (region, kind):
                    return dict(each)
        return {}

    def wait_ready(self, limit_s: float) -> None:
        """Wait until the pool has all that it can have here: asia has no machines for its pods."""
        until(
            "the pool to be ready in the regions that run pods",
            lambda: (
                self.look("miningpools", self.pool).get("status", {}).get("regionsReady")
                == f"{len(self.bed.with_nodes)}/{len(self.bed.clusters)}"
            ),
            limit_s=limit_s,
            diagnose=self.diagnosis,
        )

    def diagnosis(self) -> str:
        """What matters when the pool is not as it should be."""
        parts = [json.dumps(self.look("miningpools", self.pool).get("status"), indent=1)]
        parts += [cluster.diagnosis() for cluster in self.bed.with_nodes]
        logs = ("logs", "-n", SYSTEM, "deployment/pithead-operator", "--tail=60", "--all-pods")
        try:
            parts.append(self.hub.kubectl(*logs))
        except Exception as error:
            parts.append(str(error))
        return "\n".join(parts)

    def rows(self, query: str, *arguments: object) -> list[Any]:
        """Ask the books directly, as their administrator; `{shares}` is a service's schema."""
        query = query.format_map({name: f"pithead_{DATABASE}_{name}" for name in WITH_BOOKS})

        async def ask() -> list[Any]:
            server = self.backing.postgres
            connection = await asyncpg.connect(
                host=server.address, port=server.port, user="postgres",
                password=server.password, database=DATABASE,
            )  # fmt: skip
            try:
                return list(await connection.fetch(query, *arguments))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def charted(self) -> int:
        """Accepted shares in ClickHouse, each counted once."""
        server = self.backing.clickhouse
        client = Client(
            server.address, port=server.port, password=server.password, database="pithead",
            connect_timeout=5, send_receive_timeout=20,
        )  # fmt: skip
        try:
            return int(client.execute("SELECT count() FROM shares FINAL")[0][0])
        finally:
            client.disconnect()

    def credited(self) -> Counter[str]:
        """Shares in the cells, by account."""
        found = self.rows(
            "select login, sum(shares)::bigint as shares from {shares}.cells"
            " join {shares}.accounts on accounts.id = cells.account group by login"
        )
        return Counter({row["login"]: int(row["shares"]) for row in found})
