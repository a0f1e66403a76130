"""Remembers the manifests of the last accepted start, and refuses to change what can not change.

`applied.json` holds two memories. *Objects* are the specs of the last start that
was accepted, by namespace, kind and name: an object that is there again may not
change its immutable fields. One that was left out is forgotten, as a deleted
object of Kubernetes is. *Books* outlive objects, because log, cells and ledger
do: a poolId keeps its chain, and the methods of the schemes that it ever
offered, for ever, under whatever name it comes back; a chain of the built-in
node keeps the CoinEndpoint whose folder it lies in.

Decides and keeps; which start counts as accepted is the runtime's business.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from pithead.manifests import Manifests, MiningPool, Problem, refused_changes
from pithead.manifests.base import Shape
from pithead.manifests.endpoint import CoinEndpointSpec
from pithead.manifests.errors import shown
from pithead.manifests.pool import MiningPoolSpec
from pithead.manifests.scheme import RewardSchemeSpec
from pithead.up.datadir import DataDirError

SPECS: dict[str, type[Shape]] = {
    "MiningPool": MiningPoolSpec,
    "CoinEndpoint": CoinEndpointSpec,
    "RewardScheme": RewardSchemeSpec,
}


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """What a poolId is bound to for ever."""

    chain: str
    """`<coin>/<network>`."""
    schemes: dict[str, str] = {}
    """Method of each scheme that the pool ever offered: blocks and shares name its slot."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What a data directory remembers of its manifests."""

    objects: dict[str, dict[str, Any]] = {}
    """Specs by namespace/kind/name, with all defaults written out: those may change later."""
    books: dict[str, Books] = {}
    """By poolId."""
    built_in: dict[str, str] = {}
    """CoinEndpoint of each chain that the built-in node keeps."""


class AppliedDamaged(DataDirError):
    """Raised when the file can not be read back."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} can not be read ({reason[:256]}): restore it from a backup, or remove it, "
            "and this start compares the manifests with nothing"
        )


def load(path: Path) -> Applied:
    """Read the memory, empty before the first accepted start; raises AppliedDamaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Applied)
    except FileNotFoundError:
        return Applied()
    except OSError as error:
        raise AppliedDamaged(path, error.strerror or type(error).__name__) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AppliedDamaged(path, str(error)) from error


def store(path: Path, applied: Applied) -> None:
    """Replace the file at once and for good: after a power cut it is the old or the new one."""
    scratch = path.with_suffix(".new")
    with scratch.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(applied), indent=2))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def after(applied: Applied, manifests: Manifests) -> Applied:
    """What is remembered once `manifests` are accepted."""
    books = dict(applied.books)
    for pool in manifests.pools:
        known = books.get(pool.pool_id)
        offered = {each.metadata.name: each.spec.method for each in manifests.offered(pool)}
        books[pool.pool_id] = Books(
            chain=_chain(manifests, pool),
            schemes=(known.schemes if known else {}) | offered,
        )
    built_in = {
        _key(endpoint.spec): endpoint.metadata.name
        for endpoint in manifests.used_endpoints()
        if not endpoint.spec.nodes
    }
    return Applied(
        objects={
            f"{manifests.namespace}/{label}": spec.model_dump(
                mode="json", by_alias=True, exclude_none=True
            )
            for label, spec in _specs(manifests)
        },
        books=books,
        built_in=applied.built_in | built_in,
    )


def refusals(applied: Applied, manifests: Manifests, path: Path) -> list[Problem]:
    """Every change that can not be made, at its place in the manifests.

    `path` names the memory in AppliedDamaged, which is raised for a spec in it
    that this release can not read.
    """
    found = list(_changed_objects(applied, manifests, path))
    guilty = {problem.object for problem in found}
    found += _moved_books(applied, manifests, guilty)
    found += _moved_chains(applied, manifests)
    return sorted(found, key=lambda problem: (problem.file, problem.line))


def _changed_objects(applied: Applied, manifests: Manifests, path: Path) -> Iterator[Problem]:
    for label, spec in _specs(manifests):
        known = applied.objects.get(f"{manifests.namespace}/{label}")
        if known is None:
            continue
        kind = label.partition("/")[0]
        try:
            # JSON mode: lists become the tuples of the models.
            before = SPECS[kind].model_validate_json(msgspec.json.encode(known))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = f"{label}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise AppliedDamaged(path, reason) from error
        for change in refused_changes(before, spec):
            yield manifests.places[label].problem(
                ("spec", *change.path),
                f"{_text(change.new)} was {_text(change.old)} when this data directory was last "
                f"started, and what it holds depends on it; {_remedy(kind, change.path)}",
            )


def _remedy(kind: str, path: tuple[str | int, ...]) -> str:
    if path[0] == "devchain":
        return "put the old value back, or start another data directory with --data DIR"
    return f"put the old value back, or give the changed {kind} another name"


def _moved_books(applied: Applied, manifests: Manifests, guilty: set[str]) -> Iterator[Problem]:
    """Yield where a poolId would go on with the books of another chain or method.

    An object in `guilty` is told already what is wrong with it.
    """
    for pool in manifests.pools:
        known = applied.books.get(pool.pool_id)
        if known is None:
            continue
        label = f"MiningPool/{pool.metadata.name}"
        endpoint = f"CoinEndpoint/{pool.spec.coin_endpoint_ref.name}"
        chain = _chain(manifests, pool)
        if chain != known.chain and not guilty & {label, endpoint}:
            yield manifests.places[label].problem(
                ("spec", "poolId"),
                f"{pool.pool_id} has its books on {known.chain} and can not go on with them on "
                f"{chain}; give this pool a poolId that was not used before",
            )
        for scheme in manifests.offered(pool):
            label = f"RewardScheme/{scheme.metadata.name}"
            method = known.schemes.get(scheme.metadata.name, scheme.spec.method)
            if method != scheme.spec.method and label not in guilty:
                guilty.add(label)
                yield manifests.places[label].problem(
                    ("spec", "method"),
                    f"{scheme.spec.method} was {method} when pool {pool.pool_id} offered this "
                    "scheme, and its blocks and shares name it for ever; give the RewardScheme "
                    "another name",
                )


def _moved_chains(applied: Applied, manifests: Manifests) -> Iterator[Problem]:
    """Yield where the built-in node would begin a chain anew under books of the old one."""
    for endpoint in manifests.used_endpoints():
        known = applied.built_in.get(_key(endpoint.spec))
        name = endpoint.metadata.name
        if known is not None and known != name and not endpoint.spec.nodes:
            yield manifests.places[f"CoinEndpoint/{name}"].problem(
                ("metadata", "name"),
                f"{name} would begin {_key(endpoint.spec)} anew, whose chain and books belong to "
                f"CoinEndpoint/{known} here; name it {known} again, or start another data "
                "directory with --data DIR",
            )


def _specs(manifests: Manifests) -> Iterator[tuple[str, Shape]]:
    """Yield kind/name and spec of every object; a pool's with the poolId that it has in fact."""
    for pool in manifests.pools:
        spec = pool.spec.model_copy(update={"pool_id": pool.pool_id})
        yield f"MiningPool/{pool.metadata.name}", spec
    for name, endpoint in manifests.endpoints.items():
        yield f"CoinEndpoint/{name}", endpoint.spec
    for name, scheme in manifests.schemes.items():
        yield f"RewardScheme/{name}", scheme.spec


def _chain(manifests: Manifests, pool: MiningPool) -> str:
    return _key(manifests.endpoint(pool).spec)


def _key(spec: CoinEndpointSpec) -> str:
    return f"{spec.coin}/{spec.network}"


def _text(value: object) -> str:
    """A value as an error quotes it; a reference is its name."""
    return shown(getattr(value, "name", value))
