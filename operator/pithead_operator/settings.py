"""Settings of the operator's process, given on its command line."""

from dataclasses import dataclass
from pathlib import Path

from pithead_operator.desired.inputs import Release


@dataclass(frozen=True)
class OperatorSettings:
    """What one operator process is told."""

    namespace: str
    """Its own: cluster Secrets, the Lease and the bindings of clusters lie there."""
    release: Release
    """What the pods that it makes run."""
    kubeconfig: Path | None = None
    """Of the hub; None: the pod's own service account."""
    context: str | None = None
    """Of the kubeconfig; None: its current one."""
    identity: str = "pithead-operator"
    """Holder name in the Lease; different for each replica."""
    lease: bool = True
    """False: no Lease is taken, for a single process beside a test cluster."""
    health_host: str = "0.0.0.0"  # noqa: S104 - probes come from the node's address
    health_port: int = 9400
    """HTTP port of /livez, /readyz and /metrics; 0: none."""
    resync_seconds: float = 60.0
    """Pause between two looks at everything, whatever events told."""
    probe_seconds: float = 5.0
    """Pause between two probes of a cluster."""
    workers: int = 8
    """Reconciles at a time, each of another pool or hub."""
