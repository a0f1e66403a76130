"""Answers for which clusters there are: the hub's own, and one for each kubeconfig Secret.

The Secrets lie in the operator's namespace under a label that carries the
cluster's name. A changed Secret is a new connection, a removed one ends it, and
one that can not be taken is kept as a refusal with its sentence, so that pools
that name the cluster can tell why. The ConfigMap of bindings remembers which
cluster a name means, and in which namespaces there we left objects, so that
these are found again by an operator that has forgotten all else.
"""

import asyncio
import logging
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from kubernetes.aio.client import ApiClient, Configuration

from pithead_operator.regions.api import ClusterApi, Object
from pithead_operator.regions.errors import ClusterError, Conflict, NotFound
from pithead_operator.regions.informer import Informer
from pithead_operator.regions.kinds import CONFIG_MAP, SECRET
from pithead_operator.regions.kubeconfig import Access, BadKubeconfig, read_kubeconfig
from pithead_operator.regions.member import Context, Health, Member, Moved, Touched

log = logging.getLogger(__name__)

CLUSTER_LABEL = "pithead.dev/cluster"
BINDINGS = "pithead-clusters"
KUBECONFIG_KEY = "kubeconfig"
PLACES_KEY_END = ".namespaces"
"""Ends the key that lists a cluster's namespaces; names of clusters have no dots."""
READ_AGAIN_SECONDS = 10.0
CONNECTIONS_MAX = 64
"""To one API server: informers hold one each."""

HUB = ""
"""Name of the hub's own cluster."""


@dataclass
class _Entry:
    """One name, and what stands behind it."""

    digest: str
    member: Member | None
    refusal: Health | None
    task: asyncio.Task[None] | None


Connect = Callable[[str, Access], ClusterApi]


def connect(name: str, access: Access) -> ClusterApi:
    """A connection with a vetted access; nothing is sent yet."""
    configuration = Configuration(host=access.server, ca_cert_data=access.ca)
    configuration.connection_pool_maxsize = CONNECTIONS_MAX
    configuration.tls_server_name = access.tls_server_name or None
    if access.token:
        configuration.api_key = {"BearerToken": f"Bearer {access.token}"}
    if not access.certificate:
        return ClusterApi(ApiClient(configuration), name)
    # TLS contexts take a certificate from a file only; it is gone again when they have it.
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "client.pem"
        pair.touch(mode=0o600)
        pair.write_text(f"{access.certificate}\n{access.key}\n")
        configuration.cert_file = configuration.key_file = str(pair)
        return ClusterApi(ApiClient(configuration), name)


class Clusters:
    """All clusters by name."""

    def __init__(
        self,
        hub: ClusterApi,
        hub_uid: str,
        namespace: str,
        *,
        moved: Moved,
        touched: Touched,
        probe_seconds: float,
        connect: Connect = connect,
    ) -> None:
        """`namespace` is the operator's own."""
        self._api = hub
        self._namespace = namespace
        self._moved = moved
        self._connect = connect
        self.hub_uid = hub_uid
        self._context = Context(
            hub_uid=hub_uid,
            bind=self._bind,
            moved=moved,
            touched=touched,
            probe_seconds=probe_seconds,
        )
        self.hub = Member(HUB, hub, self._context)
        self._entries: dict[str, _Entry] = {}
        self._bindings: dict[str, str] = {}
        self._known: dict[str, str] = {}
        """UIDs by name, of clusters that answered."""
        self._lock = asyncio.Lock()
        self._secrets: Informer | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Keep all clusters connected until cancelled."""
        await self._load()
        secrets = Informer(
            self._api,
            SECRET,
            self._namespace,
            CLUSTER_LABEL,
            lambda before, after: self._changed.set(),
            metadata_only=True,
        )
        self._secrets = secrets
        async with asyncio.TaskGroup() as group:
            group.create_task(_run(self.hub))
            group.create_task(secrets.run())
            await secrets.synced.wait()
            self._changed.set()
            while True:
                await self._changed.wait()
                self._changed.clear()
                try:
                    await self._reload(group)
                except ClusterError as error:
                    log.warning("clusters: %s", error)
                    await asyncio.sleep(READ_AGAIN_SECONDS)
                    self._changed.set()

    def member(self, name: str) -> Member | None:
        """The cluster of that name, when it is known and its Secret was taken."""
        if name == HUB:
            return self.hub
        entry = self._entries.get(name)
        return entry.member if entry is not None else None

    def state(self, name: str, namespace: str) -> Health:
        """Health of a cluster as far as a namespace is concerned, also of unknown ones."""
        member = self.member(name)
        if member is not None:
            return member.state(namespace)
        entry = self._entries.get(name)
        if entry is not None and entry.refusal is not None:
            return entry.refusal
        if self._secrets is None or not self._secrets.synced.is_set():
            return Health()
        return Health(
            "Refused",
            "ClusterUnknown",
            f"no Secret with the label {CLUSTER_LABEL}: {name} is in the namespace "
            f"{self._namespace}; add the cluster's kubeconfig there",
        )

    def members(self) -> tuple[Member, ...]:
        """The hub's own cluster first, then all that were taken."""
        found = [each.member for each in self._entries.values() if each.member is not None]
        return (self.hub, *found)

    @property
    def settled(self) -> bool:
        """True when the Secrets were read once."""
        return self._secrets is not None and self._secrets.synced.is_set()

    async def remember(self, cluster: str, namespace: str) -> None:
        """Write down, before anything is made there, that a namespace has objects of ours."""
        key = _places_key(cluster)
        places = _places(self._bindings.get(key, ""))
        if namespace not in places:
            await self._note({key: ",".join(sorted({*places, namespace}))})

    async def forget(self, cluster: str, namespace: str) -> None:
        """The opposite, when nothing of ours is left there."""
        key = _places_key(cluster)
        places = _places(self._bindings.get(key, ""))
        if namespace in places:
            rest = ",".join(sorted(places - {namespace}))
            await self._note({key: rest or None})

    def remembered(self, cluster: str) -> frozenset[str]:
        """Namespaces of a cluster in which objects of ours may be."""
        return _places(self._bindings.get(_places_key(cluster), ""))

    async def _bind(self, cluster: str, uid: str) -> Health | None:
        if cluster == HUB:
            return None
        bound = (await self._read_bindings()).get(cluster)
        if bound is not None and bound != uid:
            return Health(
                "Refused",
                "ClusterChanged",
                f"another cluster (kube-system {uid}) answers under the name {cluster}, which is "
                f"bound to {bound}; give it another name, or take {cluster} out of the ConfigMap "
                f"{BINDINGS} when the old one is gone for good",
            )
        twin = self._twin(cluster, uid)
        if twin is not None:
            # Under two names, each would remove what is made under the other.
            return Health(
                "Refused",
                "ClusterKnown",
                f"the cluster {cluster} is {twin}; a cluster has one name: leave {cluster} out",
            )
        if bound is None:
            await self._note({cluster: uid})
        self._known[cluster] = uid
        return None

    def _twin(self, cluster: str, uid: str) -> str | None:
        """What else this cluster is already, in words."""
        if uid == self.hub_uid:
            return "the hub's own, which regions without a cluster mean"
        for name, known in self._known.items():
            if name != cluster and known == uid and self.member(name) is not None:
                return f"known as {name} already"
        return None

    async def _load(self) -> None:
        while True:
            try:
                await self._read_bindings()
            except ClusterError as error:
                log.warning("bindings of clusters: %s", error)
                await asyncio.sleep(READ_AGAIN_SECONDS)
            else:
                break
        for namespace in self.remembered(HUB):
            self.hub.view(namespace)

    async def _read_bindings(self) -> Mapping[str, str]:
        try:
            found = await self._api.get(CONFIG_MAP, self._namespace, BINDINGS)
        except NotFound:
            self._bindings = {}
        else:
            self._bindings = dict(found.get("data") or {})
        return self._bindings

    async def _note(self, change: Mapping[str, str | None]) -> None:
        """Change some keys; the ConfigMap is people's too, so the others are left alone."""
        async with self._lock:
            body: Object = {"data": dict(change)}
            try:
                found = await self._api.merge(CONFIG_MAP, self._namespace, BINDINGS, body)
            except NotFound:
                data = {key: value for key, value in change.items() if value is not None}
                made: Object = {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": BINDINGS, "namespace": self._namespace},
                    "data": data,
                }
                try:
                    found = await self._api.create(CONFIG_MAP, self._namespace, made)
                except Conflict:
                    found = await self._api.merge(CONFIG_MAP, self._namespace, BINDINGS, body)
            self._bindings = dict(found.get("data") or {})

    async def _reload(self, group: asyncio.TaskGroup) -> None:
        """Make the members those of the Secrets that are there now."""
        names: dict[str, list[Object]] = {}
        for each in list(self._secrets.items.values()) if self._secrets else []:
            try:
                secret = await self._api.get(SECRET, self._namespace, each.name)
            except NotFound:
                continue
            name = (secret["metadata"].get("labels") or {}).get(CLUSTER_LABEL, "")
            names.setdefault(name, []).append(secret)
        for name in set(self._entries) - set(names):
            await self._end(self._entries.pop(name))
            self._known.pop(name, None)
            self._moved(name)
        for name, secrets in names.items():
            await self._take(name, secrets, group)

    async def _take(self, name: str, secrets: list[Object], group: asyncio.TaskGroup) -> None:
        access: Access | None = None
        refusal: Health | None = None
        try:
            access = _access(name, secrets)
            digest = access.digest
        except BadKubeconfig as error:
            refusal = Health("Refused", "BadKubeconfig", str(error))
            digest = str(error)
        before = self._entries.get(name)
        if before is not None and before.digest == digest:
            return
        if before is not None:
            await self._end(before)
            self._known.pop(name, None)
        member: Member | None = None
        if access is not None:
            try:
                member = Member(name, self._connect(name, access), self._context, access)
            except (ssl.SSLError, ValueError, OSError) as error:
                text = f"Secret of {name}: its CA or client certificate is unusable ({error})"
                refusal = Health("Refused", "BadKubeconfig", text)
        task: asyncio.Task[None] | None = None
        if member is not None:
            for namespace in self.remembered(name):
                member.view(namespace)
            task = group.create_task(_run(member))
        else:
            log.warning("cluster %s is not taken: %s", name, refusal.message if refusal else "")
        self._entries[name] = _Entry(digest, member, refusal, task)
        self._moved(name)

    async def _end(self, entry: _Entry) -> None:
        if entry.task is not None:
            entry.task.cancel()
            await asyncio.wait([entry.task])


async def _run(member: Member) -> None:
    """Run a member until cancelled; whatever its API server answers harms no other."""
    try:
        while True:
            try:
                await member.run()
            except* Exception:
                log.exception("cluster %s", member.name or "hub")
                await asyncio.sleep(READ_AGAIN_SECONDS)
    finally:
        if member.name != HUB:
            await member.api.close()


def _access(name: str, secrets: list[Object]) -> Access:
    if len(secrets) > 1:
        both = " and ".join(sorted(each["metadata"]["name"] for each in secrets))
        raise BadKubeconfig(f"the Secrets {both} both name the cluster {name}; keep one of them")
    secret = secrets[0]
    where = f"Secret {secret['metadata']['name']}"
    if not name or "." in name:
        raise BadKubeconfig(f"{where}: {name or 'an empty text'} is no name of a cluster")
    encoded = (secret.get("data") or {}).get(KUBECONFIG_KEY)
    if not encoded:
        raise BadKubeconfig(f"{where} has no key {KUBECONFIG_KEY}; expected a kubeconfig there")
    try:
        text = msgspec.convert(encoded, bytes, strict=False)
        return read_kubeconfig(text)
    except (BadKubeconfig, msgspec.ValidationError) as error:
        raise BadKubeconfig(f"{where}, key {KUBECONFIG_KEY}: {error}") from error


def _places_key(cluster: str) -> str:
    return f"{cluster}{PLACES_KEY_END}"


def _places(text: str) -> frozenset[str]:
    return frozenset(part for part in text.split(",") if part)
