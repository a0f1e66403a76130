"""Answers for the Secrets that we make ourselves: read, completed or renewed, and written.

They are no function of the manifests, so what is there is read first and only
what is missing or due is made new. A Secret is made with `create`, never
applied over one that was not read: two who begin at once agree on the first.
"""

import base64
import secrets as random_source
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pithead.config.cluster import ClusterPlaces
from pithead.manifests import Manifests
from pithead_operator.desired import names
from pithead_operator.regions.errors import Conflict, NotFound
from pithead_operator.regions.kinds import SECRET
from pithead_operator.regions.view import View
from pithead_operator.wiring.minting import (
    Randomness,
    mint_ca,
    mint_regions,
    mint_roles,
    mint_tls,
    secret_object,
)

Object = dict[str, Any]

RANDOM = Randomness(
    key=lambda: ec.generate_private_key(ec.SECP256R1()),
    token=random_source.token_bytes,
    serial=x509.random_serial_number,
)


@dataclass(frozen=True)
class Minted:
    """The Secrets of a hub namespace that we make."""

    contents: Mapping[str, Mapping[str, bytes]]
    objects: tuple[Object, ...]
    """As they are applied from now on."""


async def minted_secrets(
    view: View,
    namespace: str,
    hub_uid: str,
    manifests: Manifests,
    now: datetime,
    intake: tuple[str, ...] = (),
) -> Minted:
    """Read them, and make those that are not there; raises ClusterError.

    `intake` are the names and addresses by which relays may dial the hub.
    """
    contents: dict[str, Mapping[str, bytes]] = {}
    database = next(pool.spec.database for pool in manifests.pools if pool.spec.database)
    door = ClusterPlaces(manifests).intake()
    relayed = tuple(each.region for each in door.regions) if door is not None else ()

    def fresh(name: str, old: Mapping[str, bytes]) -> dict[str, bytes]:
        if name == names.CA:
            return mint_ca(old, now, RANDOM)
        if name == names.TLS:
            return mint_tls(contents[names.CA], old, namespace, now, RANDOM, intake)
        if name == names.REGIONS:
            return mint_regions(old, relayed, now, RANDOM)
        return mint_roles(database, old, RANDOM)

    wanted = (names.CA, names.TLS, names.ROLES, *((names.REGIONS,) if relayed else ()))
    for name in wanted:
        try:
            old = _contents(await view.api.get(SECRET, namespace, name))
        except NotFound:
            made = secret_object(namespace, hub_uid, name, fresh(name, {}))
            try:
                old = _contents(await view.api.create(SECRET, namespace, made))
            except Conflict:
                old = _contents(await view.api.get(SECRET, namespace, name))
        contents[name] = fresh(name, old)
    objects = tuple(
        secret_object(namespace, hub_uid, name, values) for name, values in contents.items()
    )
    return Minted(contents, objects)


def _contents(secret: Object) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
