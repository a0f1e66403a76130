"""One region's machine: containerd, kubelet and kube-proxy in the region's network namespace.

Everything has a root of its own, since two kubelets that share a containerd would take each other's
pods for strays: containerd's folders and socket, the cgroups, the kubelet's folder, CNI's state.
"""

import ipaddress
import json
from pathlib import Path

import yaml

from tests.e2e.bed import build
from tests.e2e.bed.addresses import RegionAddresses
from tests.e2e.bed.control_plane import NODE_TOKEN, ControlPlane
from tests.e2e.bed.machine import CNI_PLUGINS, cgroup_roots
from tests.e2e.bed.network import inside
from tests.e2e.bed.processes import Processes
from tests.e2e.bed.shell import run
from tests.e2e.bed.waiting import until

READY_S_MAX = 60

PAUSE = "bed.invalid/pause:1"
"""The registry's name is one that can not exist, so nothing is ever pulled by mistake."""


def cgroup_name(region: str) -> str:
    """Return the name of the cgroup, in each hierarchy, that holds all pods of a region."""
    return f"pithead-{region}"


class Node:
    """The processes of one machine."""

    def __init__(
        self, region: RegionAddresses, control: ControlPlane, state: Path, processes: Processes
    ) -> None:
        self.region = region
        self.control = control
        self.processes = processes
        self.folder = state / region.region
        self.socket = self.folder / "containerd.sock"

    @property
    def component_names(self) -> list[str]:
        """The names of its processes, in the order of their start."""
        return [f"{self.region.region}-{name}" for name in ("containerd", "kubelet", "proxy")]

    def start_containerd(self, pause: Path) -> None:
        """Start containerd and give it the image that every pod begins with."""
        self._write_containerd()
        self.processes.start(
            self.component_names[0],
            [*inside(self.region), "/usr/bin/containerd", "--config", str(self._config_toml)],
        )
        until(
            f"containerd of {self.region.region}",
            self.socket.exists,
            limit_s=20,
            diagnose=self.diagnosis,
        )
        self.import_image(pause)

    def start_kubelet(self) -> None:
        """Start the kubelet and kube-proxy; the API server must answer."""
        for root in cgroup_roots():
            (root / cgroup_name(self.region.region)).mkdir(exist_ok=True)
        kubelet, proxy = self._write_kubelet(), self._write_proxy()
        labels = {
            "topology.kubernetes.io/region": self.region.region,
            "topology.kubernetes.io/zone": f"{self.region.region}-a",
        }
        self.processes.start(
            self.component_names[1],
            [
                *inside(self.region),
                str(build.program("kubelet")),
                f"--config={kubelet}",
                f"--kubeconfig={self._node_kubeconfig()}",
                f"--hostname-override={self.region.machine}",
                f"--node-ip={self.region.node}",
                f"--root-dir={self.folder / 'kubelet'}",
                f"--cert-dir={self.folder / 'kubelet-pki'}",
                f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
            ],
        )
        self.processes.start(
            self.component_names[2],
            [*inside(self.region), str(build.program("kube-proxy")), f"--config={proxy}"],
        )

    def wait_ready(self) -> None:
        """Wait until the node takes pods."""
        until(
            f"node {self.region.machine}", self.ready, limit_s=READY_S_MAX, diagnose=self.diagnosis
        )

    def ready(self) -> bool:
        """Tell whether the API server calls the node ready."""
        node = self.control.api.found(f"/api/v1/nodes/{self.region.machine}") or {}
        conditions = node.get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def healthy(self) -> bool:
        """Tell whether everything runs and the node takes pods."""
        return all(self.processes.alive(name) for name in self.component_names) and self.ready()

    def import_image(self, archive: Path) -> None:
        """Load a docker-archive or OCI archive into this node's containerd."""
        ctr = ["/usr/bin/ctr", "--address", str(self.socket), "--namespace", "k8s.io"]
        run([*ctr, "images", "import", str(archive)], limit_s=180)

    def diagnosis(self) -> str:
        """Return the ends of the logs of all parts."""
        return "\n".join(self.processes.tail(name) for name in self.component_names)

    @property
    def _config_toml(self) -> Path:
        return self.folder / "containerd.toml"

    def _write_containerd(self) -> None:
        cni = self.folder / "cni"
        cni.mkdir(parents=True, exist_ok=True)
        self._config_toml.write_text(f"""\
version = 2
root = "{self.folder}/images"
state = "{self.folder}/run"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Where root lacks CAP_SYS_RESOURCE, OOM scores cannot be lowered.
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE}"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{self.folder}/runc"
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{cni}"
""")
        # A cable of its own for each pod: all traffic passes the machine's routing, and so the
        # rules of kube-proxy, without the bridge filters that a kernel may lack.
        plugin = {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.folder / "cni-addresses"),
                "ranges": [[{"subnet": self.region.pods, "gateway": self.region.pods_gateway}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        (cni / "10-bed.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": self.region.namespace, "plugins": [plugin]})
        )

    def _node_kubeconfig(self) -> Path:
        path = self.folder / "node.kubeconfig"
        user = f"system:node:{self.region.machine}"
        path.touch(0o600)
        path.write_text(self.control.kubeconfig_for(NODE_TOKEN, user))
        return path

    def _write_kubelet(self) -> Path:
        return self._write_config(
            "kubelet.yaml",
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": True},
                    "x509": {"clientCAFile": str(self.control.authority)},
                },
                "authorization": {"mode": "Webhook"},
                "address": self.region.node,
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{cgroup_name(self.region.region)}",
                "failCgroupV1": False,
                "failSwapOn": False,
                "containerRuntimeEndpoint": f"unix://{self.socket}",
                "clusterDNS": [self.region.dns],
                "clusterDomain": "cluster.local",
                "resolvConf": str(self._write_resolver()),
                "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
                # Imported images cannot be pulled again.
                "imageGCHighThresholdPercent": 100,
                "syncFrequency": "10s",
                "maxPods": 200,
                "podLogsDir": str(self.folder / "pod-logs"),
                "volumePluginDir": str(self.folder / "volume-plugins"),
            },
        )

    def _write_resolver(self) -> Path:
        """Give pods the host's name servers, without those that only the host itself reaches."""
        servers = [
            line.split()[1]
            for line in Path("/etc/resolv.conf").read_text().splitlines()
            if line.startswith("nameserver ") and not _is_loopback(line.split()[1])
        ]
        path = self.folder / "resolv.conf"
        path.write_text("".join(f"nameserver {server}\n" for server in servers))
        return path

    def _write_proxy(self) -> Path:
        return self._write_config(
            "proxy.yaml",
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "iptables",
                "clusterCIDR": self.region.pods,
                "hostnameOverride": self.region.machine,
                "clientConnection": {"kubeconfig": str(self.control.kubeconfig)},
                "iptables": {"localhostNodePorts": False, "minSyncPeriod": "100ms"},
                # Leaves the sysctls alone.
                "conntrack": {
                    "maxPerCore": 0,
                    "tcpEstablishedTimeout": "0s",
                    "tcpCloseWaitTimeout": "0s",
                },
            },
        )

    def _write_config(self, name: str, content: dict[str, object]) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(content))
        return path


def _is_loopback(server: str) -> bool:
    return ipaddress.ip_address(server.partition("%")[0]).is_loopback
