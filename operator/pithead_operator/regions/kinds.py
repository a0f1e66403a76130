"""Answers for the kinds that the operator reads or writes, and where API servers keep them.

A fixed table instead of discovery: the kinds are known, so a member's contact
costs no round of questions, and a broken aggregated API there harms nobody.
"""

from dataclasses import dataclass

from pithead.manifests import API_VERSION


@dataclass(frozen=True)
class Kind:
    """A kind of namespaced object."""

    api_version: str
    name: str
    plural: str
    counts_specs: bool = False
    """True when the API server counts changes of the spec in metadata.generation."""

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Path below the API server's address; an empty namespace means all."""
        root = "api" if "/" not in self.api_version else "apis"
        parts = [root, self.api_version]
        parts += ["namespaces", namespace] if namespace else []
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
SERVICE = Kind("v1", "Service", "services")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", counts_specs=True)
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", counts_specs=True)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", counts_specs=True)
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs", counts_specs=True)
JOB = Kind("batch/v1", "Job", "jobs", counts_specs=True)
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
MINING_POOL = Kind(API_VERSION, "MiningPool", "miningpools", counts_specs=True)
COIN_ENDPOINT = Kind(API_VERSION, "CoinEndpoint", "coinendpoints", counts_specs=True)
REWARD_SCHEME = Kind(API_VERSION, "RewardScheme", "rewardschemes", counts_specs=True)

EDGE_KINDS = (
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    ROLE_BINDING,
    NETWORK_POLICY,
    SERVICE,
    BUDGET,
    DEPLOYMENT,
    JOB,
)
"""What a region's namespace holds of ours."""
HUB_KINDS = (*EDGE_KINDS, CRON_JOB)
"""What a hub namespace holds of ours."""
OUR_KINDS = (MINING_POOL, COIN_ENDPOINT, REWARD_SCHEME)

BY_NAME = {kind.name: kind for kind in (*HUB_KINDS, *OUR_KINDS, POD, EVENT, LEASE)}
