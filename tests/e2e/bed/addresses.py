"""The addresses of the bed, all inside 192.168.64.0/18 so that it meets nothing else.

One bridge joins the host and the regions; each region is a network namespace, like a machine of
its own: its API server, its node, its pods and its load balancers are behind its one address on the
bridge. Test processes, Kafka, PostgreSQL and coin nodes are at the host's end of the bridge, which
every pod of every region reaches.
"""

from dataclasses import dataclass

BRIDGE = "phb0"

HOST = "192.168.77.1"
"""The host on the bridge; what listens here is reached by the pods of every region."""

HOST_NAMES = (
    "kafka.pithead.internal",
    "kafka-us.pithead.internal",
    "postgres.pithead.internal",
    "clickhouse.pithead.internal",
    "litecoind.pithead.internal",
)
"""What the clusters' DNS calls the host: names of the servers in examples/three-regions."""

BRIDGE_PREFIX = 24

API_PORT = 6443

HUB = "eu"
"""The hub is region one."""


@dataclass(frozen=True)
class RegionAddresses:
    """Where one region's parts are."""

    region: str
    number: int

    @property
    def machine(self) -> str:
        """The name of its Kubernetes node."""
        return f"{self.region}-1"

    @property
    def namespace(self) -> str:
        """The name of its network namespace, and of the host's end of its cable."""
        return f"phb-{self.region}"

    @property
    def node(self) -> str:
        """Its machine on the bridge: API server, kubelet, node ports."""
        return f"192.168.77.{1 + self.number}"

    @property
    def pods(self) -> str:
        """The network of its pods, reached from the host and from other regions."""
        return f"192.168.{80 + self.number}.0/24"

    @property
    def pods_gateway(self) -> str:
        """The machine as its pods see it."""
        return f"192.168.{80 + self.number}.1"

    @property
    def balancers(self) -> str:
        """The network that addresses of LoadBalancer Services are taken from."""
        return f"192.168.{90 + self.number}.0/24"

    @property
    def services(self) -> str:
        """The network of its cluster addresses; means something inside the region only."""
        return f"10.{95 + self.number}.0.0/16"

    @property
    def kubernetes_service(self) -> str:
        """The API server as pods of the region see it."""
        return f"10.{95 + self.number}.0.1"

    @property
    def dns(self) -> str:
        """The cluster's DNS."""
        return f"10.{95 + self.number}.0.10"

    @property
    def api(self) -> str:
        """The URL of its API server, the same from everywhere."""
        return f"https://{self.node}:{API_PORT}"


REGIONS = {
    name: RegionAddresses(name, number) for number, name in enumerate((HUB, "us", "asia"), start=1)
}

WITH_NODES = (HUB, "us")
"""The regions that run pods; the others have objects only."""
