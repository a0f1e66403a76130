"""Answers for what only all objects together can show: references, clashes, what a coin allows.

Each check takes the objects that validated and returns problems at their
places. `check_common` holds on one machine and in a cluster; `check` adds the
rules of the one-machine runtime: one namespace, one region a pool, ports that
do not clash. Where objects disagree, the first one given is right. An object
that did not validate still counts as named, so that one mistake is reported
once.
"""

from collections.abc import Iterator
from itertools import chain, combinations

from pithead.coins.params import ChainParams
from pithead.coins.registry import BrokenCoin, UnknownCoin, chain_params, coin_names
from pithead.coins.weight import WeightError, weight_of_difficulty
from pithead.manifests.amounts import AmountError, base_units, difficulty
from pithead.manifests.base import GROUP, Path
from pithead.manifests.endpoint import BuiltInNode, CoinEndpoint
from pithead.manifests.errors import Problem, cut, shown
from pithead.manifests.objects import Located, Objects, demo_hashrates
from pithead.manifests.pool import DEMO_MINERS, MiningPool
from pithead.manifests.scheme import RewardScheme

WEIGHT_MAX = 2**53
"""Weight of one share: with it, a cell of a thousand such shares a second stays in 63 bits."""

BUILT_IN_HOST = "127.0.0.1"

REFERENCE_MISSING = "ReferenceMissing"
"""Reason of a problem: an object that is referred to is not there."""
CONFLICT = "Conflict"
"""Reason of a problem: two objects say what cannot hold together."""


def check(objects: Objects, *, complete: bool) -> list[Problem]:
    """Every problem between objects; `complete` when each of them validated by itself."""
    found = [
        *_repeated_names(objects),
        *_namespaces(objects),
        *check_common(objects),
        *chain.from_iterable(_secrets(each, objects) for each in objects.endpoints),
        *chain.from_iterable(_one_region(each) for each in objects.pools),
        *chain.from_iterable(_annotations(each) for each in objects.pools),
        *_ports(objects),
    ]
    if complete and not objects.pools:
        first = _everything(objects)[0]
        what = "no MiningPool is given; at least one is needed beside the other kinds"
        found.append(Problem(first.document.file, 0, "", "", what))
    return found


def check_common(objects: Objects) -> list[Problem]:
    """Every problem between objects that is one on either runtime."""
    return [
        *chain.from_iterable(_chain(each) for each in objects.endpoints),
        *_repeated_chains(objects),
        *chain.from_iterable(_pool(each, objects) for each in objects.pools),
        *_repeated_pool_ids(objects),
        *_payouts(objects),
    ]


def _everything(objects: Objects) -> tuple[Located[object], ...]:
    lists = (objects.pools, objects.endpoints, objects.schemes, objects.secrets)
    return tuple(chain.from_iterable(lists))  # type: ignore[arg-type]  # kinds differ on purpose


def _repeated_names(objects: Objects) -> Iterator[Problem]:
    seen: dict[tuple[str, str], Located[object]] = {}
    for each in _everything(objects):
        first = seen.setdefault((each.namespace, each.label), each)
        if first is not each:
            yield each.problem(
                ("metadata", "name"),
                f"{each.name} is given twice; the first is {first.place}; give each its own name",
            )


def _namespaces(objects: Objects) -> Iterator[Problem]:
    everything = _everything(objects)
    for each in everything[1:]:
        if each.namespace != everything[0].namespace:
            yield each.problem(
                ("metadata", "namespace"),
                f"{each.namespace} differs from {everything[0].namespace} of "
                f"{everything[0].label}; one machine runs one namespace",
            )


def params_of(endpoint: CoinEndpoint) -> ChainParams | None:
    """The chain of an endpoint, or None when no installed coin has it."""
    try:
        return chain_params(endpoint.spec.coin, endpoint.spec.network)
    except (UnknownCoin, BrokenCoin):
        return None


def _chain(each: Located[CoinEndpoint]) -> Iterator[Problem]:
    spec = each.value.spec
    try:
        chain_params(spec.coin, spec.network)
    except UnknownCoin as error:
        field = "network" if spec.coin in coin_names() else "coin"
        yield each.problem(
            ("spec", field),
            f"{error.wanted} is not known; expected one of {', '.join(error.known) or 'none'}",
        )
    except BrokenCoin as error:
        yield each.problem(("spec", "coin"), f"{cut(str(error))}; install the coin again")


def _secrets(each: Located[CoinEndpoint], objects: Objects) -> Iterator[Problem]:
    secrets = {secret.name: secret for secret in objects.secrets}
    for index, node in enumerate(each.value.spec.nodes):
        at: Path = ("spec", "nodes", index)
        wanted = node.credentials_secret_ref.name
        where = (*at, "credentialsSecretRef", "name")
        if wanted in secrets:
            missing = {"username", "password"} - set(secrets[wanted].value.values)
            if missing:
                yield each.problem(
                    where,
                    f"Secret {wanted} has no key {' and no key '.join(sorted(missing))}; "
                    "expected username and password",
                )
        elif ("Secret", wanted) not in objects.named:
            yield each.problem(where, _dangling("Secret", wanted, secrets))


def _dangling(kind: str, name: str, known: object) -> str:
    names = ", ".join(sorted(known)) if isinstance(known, dict) and known else "none"
    return f"there is no {kind} {name}; add it to the manifests or name one of them: {names}"


def _repeated_chains(objects: Objects) -> Iterator[Problem]:
    seen: dict[tuple[str, str], Located[CoinEndpoint]] = {}
    for each in objects.endpoints:
        spec = each.value.spec
        first = seen.setdefault((spec.coin, spec.network), each)
        if first is not each and first.name != each.name:
            # Balances are kept by chain: two wallets would both pay the same ones.
            yield each.problem(
                ("spec", "network"),
                f"{spec.coin}/{spec.network} is already {first.named}; "
                "one wallet pays a chain: put all its nodes into one CoinEndpoint",
                CONFLICT,
            )


def _pool(each: Located[MiningPool], objects: Objects) -> Iterator[Problem]:
    spec = each.value.spec
    endpoints = {endpoint.name: endpoint.value for endpoint in objects.endpoints}
    schemes: dict[str, RewardScheme] = {scheme.name: scheme.value for scheme in objects.schemes}
    wanted = spec.coin_endpoint_ref.name
    if wanted not in endpoints and ("CoinEndpoint", wanted) not in objects.named:
        where: Path = ("spec", "coinEndpointRef", "name")
        what = _dangling("CoinEndpoint", wanted, endpoints)
        yield each.problem(where, what, REFERENCE_MISSING)
    for index, offered in enumerate(spec.schemes):
        if offered.name not in schemes and ("RewardScheme", offered.name) not in objects.named:
            where = ("spec", "schemes", index, "name")
            what = _dangling("RewardScheme", offered.name, schemes)
            yield each.problem(where, what, REFERENCE_MISSING)
    params = params_of(endpoints[wanted]) if wanted in endpoints else None
    if params is not None:
        yield from _coin_rules(each, params)


def _one_region(each: Located[MiningPool]) -> Iterator[Problem]:
    regions = each.value.spec.regions
    local = [regions.index(region) for region in each.value.local_regions]
    for index in local[1:]:
        yield each.problem(
            ("spec", "regions", index, "state"),
            f"{regions[index].id} is Active beside {regions[local[0]].id}; one machine "
            'runs one region of a pool: give the others state "Off"',
        )


def _coin_rules(each: Located[MiningPool], params: ChainParams) -> Iterator[Problem]:
    """Check what depends on the coin: the threshold and the range of difficulties."""
    spec = each.value.spec
    where: Path = ("spec", "payouts", "threshold")
    try:
        threshold = base_units(spec.payouts.threshold, params.decimals)
    except AmountError as error:
        yield each.problem(where, f"{error}, all that {params.symbol} has; cut the rest")
    else:
        if threshold < params.dust:
            yield each.problem(
                where,
                f"{spec.payouts.threshold} {params.symbol} is below what nodes relay; expected at "
                f"least {params.dust} base units, {coins_text(params.dust, params.decimals)}",
            )
    for index, listener in enumerate(spec.listeners):
        for name in ("start", "min", "max"):
            text: str = getattr(listener.difficulty, name)
            try:
                weight = weight_of_difficulty(difficulty(text), params)
            except WeightError:
                weight = WEIGHT_MAX + 1
            if weight > WEIGHT_MAX:
                yield each.problem(
                    ("spec", "listeners", index, "difficulty", name),
                    f"{text} is too hard for {params.key}; expected one whose share holds at most "
                    f"2^53 units of weight (of 2^{params.shift} hashes each)",
                )


def coins_text(amount: int, decimals: int) -> str:
    """Base units as coins, without trailing zeros: 546 of 8 decimals is 0.00000546."""
    digits = str(amount).rjust(decimals + 1, "0")
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
    return f"{whole}.{fraction}".rstrip("0").rstrip(".")


def _annotations(each: Located[MiningPool]) -> Iterator[Problem]:
    for key in each.value.metadata.annotations:
        if key.startswith(f"{GROUP}/") and key != DEMO_MINERS:
            yield each.problem(
                ("metadata", "annotations", key),
                f"is not an annotation of Pithead; expected {DEMO_MINERS} or none",
            )
    try:
        demo_hashrates(each.value)
    except ValueError as error:
        yield each.problem(("metadata", "annotations", DEMO_MINERS), str(error))


def _repeated_pool_ids(objects: Objects) -> Iterator[Problem]:
    seen: dict[str, Located[MiningPool]] = {}
    for each in objects.pools:
        first = seen.setdefault(each.value.pool_id, each)
        if first is not each and first.label != each.label:
            yield each.problem(
                ("spec", "poolId"),
                f"{each.value.pool_id} is the poolId of {first.named} too; "
                "each pool has books of its own: give another",
                CONFLICT,
            )


def _ports(objects: Objects) -> Iterator[Problem]:
    """Find ports that two processes of this machine would open."""
    taken: list[tuple[str, int, Located[object], Path]] = []
    for endpoint in objects.endpoints:
        spec = endpoint.value.spec
        if not spec.nodes:
            port = (spec.devchain or BuiltInNode()).rpc_port
            path: Path = ("spec", "devchain", "rpcPort")
            taken.append((BUILT_IN_HOST, port, endpoint, path))  # type: ignore[arg-type]
    for pool in objects.pools:
        if not pool.value.local_regions:
            continue
        for index, listener in enumerate(pool.value.spec.listeners):
            path = ("spec", "listeners", index, "port")
            taken.append((listener.host, listener.port, pool, path))  # type: ignore[arg-type]
    for (host_a, port_a, a, _), (host_b, port_b, b, path_b) in combinations(taken, 2):
        # Two ports of one pool are that pool's own broken rule, two of its copies that copy's.
        if a.label != b.label and port_a == port_b and _overlap(host_a, host_b):
            yield b.problem(path_b, f"port {port_b} is taken by {a.named}; give each its own")


def _overlap(a: str, b: str) -> bool:
    wildcards = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    return a == b or a in wildcards or b in wildcards


def _payouts(objects: Objects) -> Iterator[Problem]:
    """Pools on one CoinEndpoint share its wallet and one schedule."""
    first_of: dict[str, Located[MiningPool]] = {}
    for each in objects.pools:
        spec = each.value.spec
        first = first_of.setdefault(spec.coin_endpoint_ref.name, each)
        ours, theirs = spec.payouts, first.value.spec.payouts
        if ours == theirs:
            continue
        for name, field in type(ours).model_fields.items():
            if getattr(ours, name) != getattr(theirs, name):
                yield each.problem(
                    ("spec", "payouts", field.alias or name),
                    f"{shown(getattr(ours, name))} differs from {shown(getattr(theirs, name))} of "
                    f"{first.named}; payouts belong to the wallet of CoinEndpoint "
                    f"{spec.coin_endpoint_ref.name}: give its pools the same",
                    CONFLICT,
                )
