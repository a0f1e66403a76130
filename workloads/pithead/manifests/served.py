"""Answers for manifests that an API server gave: objects in, what is sound and what is not out.

The same models and checks as for files, but one bad object does not take down
the others: each has its own problems, and what depends on a bad object is
unsound too, with a problem that says so. Status is output and is not read.
Pure; the caller has read the objects of one namespace, and the Secrets that
`wanted_secrets` names.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pithead.manifests.cluster_checks import check_cluster
from pithead.manifests.errors import Problem
from pithead.manifests.objects import Located, Manifests, Objects, SecretValues
from pithead.manifests.pool import MiningPool
from pithead.manifests.source import Document
from pithead.manifests.validation import read_object

DEPENDENCY_INVALID = "DependencyInvalid"
"""Reason of a problem: an object that is referred to has a problem of its own."""


@dataclass(frozen=True)
class Served:
    """The manifests of one namespace of the hub."""

    manifests: Manifests
    """The sound objects; a pool is among them only when all that it refers to is."""
    problems: Mapping[str, tuple[Problem, ...]]
    """What is wrong with each other object, by kind/name. Such an object is Stalled, and what was
    made of it before must stay as it is: it is missing from `manifests`, not deleted."""


def wanted_secrets(objects: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of the hub's Secrets that objects refer to, valid or not, in order of the alphabet.

    Those of listeners are not among them: they live in the regions.
    """
    return tuple(sorted({name for each in objects for name in _references(each.get("spec"))}))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            # credentialsSecretRef, adminSecretRef, caSecretRef; a listener has a secretRef.
            if key.endswith("SecretRef") and isinstance(inner, Mapping):
                if isinstance(inner.get("name"), str):
                    yield inner["name"]
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def manifests_from_objects(
    namespace: str,
    objects: Iterable[Mapping[str, Any]],
    secrets: Iterable[Mapping[str, Any]] = (),
) -> Served:
    """Judge the objects of one namespace, as the API server gave them.

    `objects` are MiningPools, CoinEndpoints and RewardSchemes in any order,
    `secrets` v1 Secrets; values that are no text are left out. Of two objects
    that disagree the younger one has the problem. Never raises for bad content.
    """
    found = Objects()
    problems: list[Problem] = []
    for each in sorted(objects, key=_age):
        value = {key: inner for key, inner in each.items() if key != "status"}
        read_object(Document("", value, {(): 0}, {}), found, problems)
    for each in secrets:
        found.secrets.append(_secret(each, namespace))
    problems += check_cluster(found)
    problems += _dependants(found, {each.object for each in problems})
    by_object: dict[str, dict[Problem, None]] = {}
    for problem in problems:
        by_object.setdefault(problem.object, {})[problem] = None
    sound = Objects(
        pools=[each for each in found.pools if each.label not in by_object],
        endpoints=[each for each in found.endpoints if each.label not in by_object],
        schemes=[each for each in found.schemes if each.label not in by_object],
        secrets=found.secrets,
        named=found.named,
    )
    return Served(
        sound.manifests(namespace), {label: tuple(each) for label, each in by_object.items()}
    )


def _age(value: Mapping[str, Any]) -> tuple[str, str]:
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    return str(metadata.get("creationTimestamp", "")), str(metadata.get("name", ""))


def _secret(value: Mapping[str, Any], namespace: str) -> Located[SecretValues]:
    name = str(value["metadata"]["name"])
    texts = {}
    for key, encoded in (value.get("data") or {}).items():
        try:
            texts[key] = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, TypeError):
            continue
    document = Document("", None, {(): 0}, {})
    values = SecretValues(name, namespace, texts)
    return Located(values, document, f"Secret/{name}", namespace, name)


def _dependants(objects: Objects, unsound: set[str]) -> Iterator[Problem]:
    """Pools that are sound in themselves, but refer to an object that is not."""
    for pool in objects.pools:
        yield from _dependant(pool, unsound)


def _dependant(pool: Located[MiningPool], unsound: set[str]) -> Iterator[Problem]:
    spec = pool.value.spec
    referred = {
        ("spec", "coinEndpointRef", "name"): f"CoinEndpoint/{spec.coin_endpoint_ref.name}",
    } | {
        ("spec", "schemes", index, "name"): f"RewardScheme/{scheme.name}"
        for index, scheme in enumerate(spec.schemes)
    }
    for path, label in referred.items():
        if label in unsound:
            what = f"{label} has a problem of its own; its status says which"
            yield pool.problem(path, what, DEPENDENCY_INVALID)
