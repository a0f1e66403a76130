"""Answers for what rendering may know: frozen values, all given by the caller.

The caller reads the API server; nothing here does. Secrets come with their
contents, because pods are rolled when what they mount changes and because the
edges' Secret is put together from the hub's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pithead.config import SlotSettings
from pithead.manifests import Manifests, MiningPool
from pithead.manifests.region import Region

Object = dict[str, Any]
"""A Kubernetes object as the API server reads it."""

Secrets = Mapping[str, Mapping[str, bytes]]
"""Contents (decoded) of the hub namespace's Secrets, by name and key."""

HubService = Literal["shares", "rewards", "ledger"]
SERVICES: tuple[HubService, ...] = ("ledger", "rewards", "shares")
"""Hub services that are Deployments, in the order of their start."""


class MissingInput(Exception):
    """Raised when a Secret, a key or a fact that an object needs was not given.

    `what` names it (`Secret litecoind-rpc, key username`); nothing was rendered.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is missing")
        self.what = what


@dataclass(frozen=True)
class Release:
    """What runs, and how it is pulled."""

    image: str
    """Reference of the one image."""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    """Names of image pull Secrets, which must exist in each namespace."""


@dataclass(frozen=True)
class Facts:
    """What wiring Jobs have told so far; empty at first."""

    scripts: Mapping[str, bytes] = field(default_factory=dict)
    """Script that coinbases pay, by CoinEndpoint name."""
    slots: Mapping[str, tuple[SlotSettings, ...]] = field(default_factory=dict)
    """Scheme slots and their revisions, by poolId."""


@dataclass(frozen=True)
class HubInputs:
    """Everything of one hub namespace."""

    namespace: str
    hub_uid: str
    """UID of the hub cluster's kube-system namespace."""
    manifests: Manifests
    release: Release
    secrets: Secrets = field(repr=False)
    """Those that the manifests name, and the minted ones: `pithead-roles`, `pithead-tls`."""
    digest_key: bytes = field(repr=False)
    """Keys the digests of Secrets in pod annotations (`wiring.minting.digest_key`), so that a
    weak password can not be guessed from one."""
    facts: Facts = field(default_factory=Facts)
    intake: tuple[str, ...] = ()
    """Names and addresses by which relays may dial the hub's intake; the first is used. Empty
    while its Service has no address and the pools name none."""


@dataclass(frozen=True)
class EdgeInputs:
    """One pool in one region: the hub's inputs, and which of its pools and regions is meant."""

    hub: HubInputs
    pool: MiningPool
    region: Region


@dataclass(frozen=True)
class Replicas:
    """Pods that a Deployment has; set apart from the object, under a manager of its own."""

    deployment: str
    count: int
    drain: bool = False
    """True: the count is zero because the region drains; it is set each time, not once."""
