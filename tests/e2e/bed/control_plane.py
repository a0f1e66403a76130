"""One cluster's control plane: etcd, API server, controller manager and, where pods run, scheduler.

The same class makes both forms of the bed. In the quick form everything is on the loopback address
with ports of its own and nothing needs root; in the full form the programs run in the network
namespace of their region.
"""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.bed import build
from tests.e2e.bed.api import Api
from tests.e2e.bed.pki import Authority, kubeconfig
from tests.e2e.bed.processes import Processes
from tests.e2e.bed.waiting import until

READY_S_MAX = 60
"""For a machine that compiles something meanwhile; a free one needs under 10."""

LOOPBACK = "127.0.0.1"

ADMIN_TOKEN = "admin-token"
NODE_TOKEN = "node-token"

TOKENS = {
    "admin": (ADMIN_TOKEN, "system:masters"),
    "system:node:{region}-1": (NODE_TOKEN, "system:nodes"),
    "nobody": ("nobody-token", ""),
}
"""Users that are known by a fixed token; `nobody` is for tests of RBAC and may do nothing."""


@dataclass(frozen=True)
class Layout:
    """Where one control plane listens."""

    region: str
    address: str
    api_port: int
    etcd_port: int
    peer_port: int
    services: str
    kubernetes_service: str
    with_pods: bool = False
    prefix: Sequence[str] = ()
    """Put before each command: enters the region's network namespace."""

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{self.address}:{self.api_port}"


class ControlPlane:
    """The processes of one control plane, its credentials, and the ways to hurt its API server."""

    def __init__(self, layout: Layout, state: Path, processes: Processes) -> None:
        self.layout = layout
        self.region = layout.region
        self.server = layout.server
        self.processes = processes
        self.folder = state / layout.region
        self.kubeconfig = state / f"{layout.region}.kubeconfig"
        self._certificates = self.folder / "pki"
        self._api: Api | None = None

    @property
    def authority(self) -> Path:
        """The certificate that signs all others of this cluster."""
        return self._certificates / "ca.crt"

    @property
    def api(self) -> Api:
        """A client with all rights."""
        if self._api is None:
            self._api = Api(self.layout.server, self.authority, ADMIN_TOKEN)
        return self._api

    @property
    def component_names(self) -> list[str]:
        """The names of its processes, in the order of their start."""
        names = ["etcd", "api", "controllers", *(["scheduler"] if self.layout.with_pods else [])]
        return [self._process(name) for name in names]

    def start(self) -> None:
        """Make the credentials if there are none, and start what does not run."""
        if not self.kubeconfig.exists():
            self._make_credentials()
        for name in ("etcd", "api", "controllers"):
            self._start(name)
        if self.layout.with_pods:
            self._start("scheduler")

    def wait_ready(self, limit_s: float = READY_S_MAX) -> None:
        """Wait until pods can be created: the `default` ServiceAccount is the last thing made."""

        def ready() -> bool:
            # The controller manager gives up when the API server needs more than 10 s.
            self.start()
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            return bool(self.api.found(account)) and bool(self.api.found("/readyz"))

        until(
            f"the control plane of {self.region}", ready, limit_s=limit_s, diagnose=self.diagnosis
        )

    def stop(self) -> None:
        """End all of it; an API server whose store is gone would hang."""
        for name in reversed(self.component_names):
            self.processes.stop(name)

    def pause_api(self) -> None:
        """Make the API server hang: connections are accepted, nothing is answered."""
        self.processes.signal(self._process("api"), signal.SIGSTOP)

    def resume_api(self) -> None:
        """Let a hanging API server go on."""
        self.processes.signal(self._process("api"), signal.SIGCONT)

    def kill_api(self) -> None:
        """Make the API server refuse connections, without a farewell."""
        self.processes.kill(self._process("api"))

    def start_api(self, limit_s: float = READY_S_MAX) -> None:
        """Start the API server again and wait until it is ready."""
        self._start("api")
        until(
            f"the API server of {self.region}",
            lambda: self.api.found("/readyz"),
            limit_s=limit_s,
            diagnose=self.diagnosis,
        )

    def healthy(self) -> bool:
        """Tell whether everything runs and the API server answers."""
        running = all(self.processes.alive(name) for name in self.component_names)
        return running and bool(self.api.found("/readyz"))

    def diagnosis(self) -> str:
        """Return the ends of the logs of all parts."""
        return "\n".join(self.processes.tail(name) for name in self.component_names)

    def kubeconfig_for(self, token: str, user: str) -> str:
        """Return a kubeconfig with another user's token."""
        return kubeconfig(self.region, self.layout.server, self.authority, token, user)

    def _process(self, name: str) -> str:
        return f"{self.region}-{name}"

    def _start(self, name: str) -> None:
        if self.processes.alive(self._process(name)):
            return
        command = {
            "etcd": self._etcd,
            "api": self._api_server,
            "controllers": self._controllers,
            "scheduler": self._scheduler,
        }[name]()
        self.processes.start(self._process(name), [*self.layout.prefix, *command])

    def _make_credentials(self) -> None:
        authority = Authority(self._certificates, f"{self.region}-ca")
        names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
            self.layout.kubernetes_service,
            self.layout.address,
        ]
        authority.issue("api", "kube-apiserver", names=names)
        authority.issue("front", "front-proxy")
        authority.issue("kubelet-client", "kube-apiserver", "system:masters")
        authority.key_pair("sa")
        rows = [
            f'{token},{user.format(region=self.region)},{number},"{groups}"'
            for number, (user, (token, groups)) in enumerate(TOKENS.items())
        ]
        (self._certificates / "tokens.csv").write_text("\n".join(rows) + "\n")
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(self.kubeconfig_for(ADMIN_TOKEN, "admin"))

    def _etcd(self) -> list[str]:
        client = f"http://127.0.0.1:{self.layout.etcd_port}"
        peer = f"http://127.0.0.1:{self.layout.peer_port}"
        return [
            str(build.program("etcd")),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
            # Nothing here must survive the machine.
            "--unsafe-no-fsync",
        ]

    def _api_server(self) -> list[str]:
        pki = self._certificates
        return [
            str(build.program("kube-apiserver")),
            f"--etcd-servers=http://127.0.0.1:{self.layout.etcd_port}",
            f"--secure-port={self.layout.api_port}",
            f"--bind-address={self.layout.address}",
            *self._published(),
            f"--tls-cert-file={pki / 'api.crt'}",
            f"--tls-private-key-file={pki / 'api.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--requestheader-client-ca-file={pki / 'ca.crt'}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki / 'front.crt'}",
            f"--proxy-client-key-file={pki / 'front.key'}",
            "--enable-aggregator-routing=true",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            # Node names are not known to any DNS.
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-cluster-ip-range={self.layout.services}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--token-auth-file={pki / 'tokens.csv'}",
        ]

    def _published(self) -> list[str]:
        if self.layout.address != LOOPBACK:
            return [f"--advertise-address={self.layout.address}"]
        # Service "kubernetes" cannot lead to a loopback address, and without pods nobody asks it.
        return ["--endpoint-reconciler-type=none", "--advertise-address=192.0.2.1"]

    def _controllers(self) -> list[str]:
        pki = self._certificates
        return [
            str(build.program("kube-controller-manager")),
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            "--leader-elect=false",
            "--secure-port=0",
            # It makes the folder wherever it is.
            f"--flex-volume-plugin-dir={self.folder / 'volume-plugins'}",
            # The usual 20 requests a second make its start take 4 s longer.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            # Minutes in production, seconds in a test.
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--horizontal-pod-autoscaler-downscale-stabilization=10s",
        ]

    def _scheduler(self) -> list[str]:
        return [
            str(build.program("kube-scheduler")),
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        ]


def wait_all(planes: Sequence[ControlPlane], limit_s: float = READY_S_MAX) -> None:
    """Wait for several control planes that start side by side."""
    deadline = time.monotonic() + limit_s
    for plane in planes:
        plane.wait_ready(max(1.0, deadline - time.monotonic()))
