"""Gives each Service of type LoadBalancer an address, as a cloud would.

The addresses of a region are a network that everything else routes to the region's machine. There
kube-proxy has rules for each address once it stands in the Service's status; so writing the status
is all that is to be done, and `externalTrafficPolicy: Local` keeps the client's address.
"""

import ipaddress
import json
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.e2e.bed.api import Api, Refused

RETRY_S = 0.5

SERVICES = "/api/v1/services"


@dataclass(frozen=True)
class Assignment:
    """One cluster to serve."""

    region: str
    server: str
    authority: str
    """The file with the API server's certificate authority."""
    token: str
    balancers: str
    """The network to take addresses from."""


class Pool:
    """The addresses of one region, and who has them."""

    def __init__(self, network: str) -> None:
        self._hosts = [str(host) for host in ipaddress.ip_network(network).hosts()]
        self._next = 0
        self._taken: dict[str, str] = {}

    def take(self, uid: str, wanted: str | None) -> str:
        """Return the Service's address: what it has, else the next that is free."""
        if wanted in self._hosts and wanted not in self._others(uid):
            self._taken[uid] = wanted
        if uid not in self._taken:
            self._taken[uid] = self._free()
        return self._taken[uid]

    def give_back(self, uid: str) -> None:
        """Take back what a Service had, if anything."""
        self._taken.pop(uid, None)

    def keep_only(self, uids: Iterable[str]) -> None:
        """Forget the Services that are gone."""
        alive = set(uids)
        self._taken = {uid: address for uid, address in self._taken.items() if uid in alive}

    def _others(self, uid: str) -> set[str]:
        return {address for owner, address in self._taken.items() if owner != uid}

    def _free(self) -> str:
        # In a circle, so that an address does not go from one Service straight to another.
        taken = set(self._taken.values())
        for offset in range(len(self._hosts)):
            index = (self._next + offset) % len(self._hosts)
            if self._hosts[index] not in taken:
                self._next = index + 1
                return self._hosts[index]
        raise LookupError("all balancer addresses of the region are taken")


def wants_address(service: dict[str, Any]) -> bool:
    """Tell whether a Service asks for an address from us."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")


def address_of(service: dict[str, Any]) -> str | None:
    """Return the address in a Service's status."""
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
    address: str | None = ingress[0].get("ip")
    return address


def serve(api: Api, pool: Pool) -> None:
    """Keep the Services of one cluster supplied until the API server goes away."""
    listed = api.call(SERVICES)
    pool.keep_only(each["metadata"]["uid"] for each in listed["items"])
    # Those that have one first: it must not be given to another.
    for service in sorted(listed["items"], key=lambda each: address_of(each) is None):
        _settle(api, pool, service)
    for event in api.watch(SERVICES, listed["metadata"]["resourceVersion"]):
        if event["type"] == "ERROR":
            return
        if event["type"] == "DELETED":
            pool.give_back(event["object"]["metadata"]["uid"])
        else:
            _settle(api, pool, event["object"])


def _settle(api: Api, pool: Pool, service: dict[str, Any]) -> None:
    metadata = service["metadata"]
    if not wants_address(service) or "deletionTimestamp" in metadata:
        pool.give_back(metadata["uid"])
        return
    had = address_of(service)
    address = pool.take(metadata["uid"], had)
    if had == address:
        return
    path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
    ingress = [{"ip": address, "ipMode": "VIP"}]
    # With the version, so that a Service that was deleted and made anew is not meant.
    body = {
        "metadata": {"resourceVersion": metadata["resourceVersion"]},
        "status": {"loadBalancer": {"ingress": ingress}},
    }
    try:
        api.call(path, body, method="PATCH", kind="application/merge-patch+json")
        print(f"{metadata['namespace']}/{metadata['name']}: {address}", flush=True)
    except Refused as error:
        # Changed or deleted meanwhile: the next event tells.
        if error.status not in {404, 409}:
            raise


def keep_serving(assignment: Assignment) -> None:
    """Serve one cluster for ever, through every failure of its API server."""
    api = Api(assignment.server, Path(assignment.authority), assignment.token)
    pool = Pool(assignment.balancers)
    while True:
        try:
            serve(api, pool)
        except (OSError, Refused, LookupError, ValueError) as error:
            print(f"{assignment.region}: {error!r}", flush=True)
            time.sleep(RETRY_S)


def write_assignments(folder: Path, assignments: list[Assignment]) -> Path:
    """Write down which clusters are to be served and return the file."""
    path = folder / "assigner.json"
    path.touch(0o600)
    path.write_text(json.dumps([asdict(each) for each in assignments]))
    return path


def main(path: Path) -> None:
    """Serve the clusters of an assignment file, a thread each."""
    assignments = [Assignment(**each) for each in json.loads(path.read_text())]
    threads = [threading.Thread(target=keep_serving, args=(each,)) for each in assignments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
