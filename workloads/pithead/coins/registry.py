"""Finds the parameters of a chain by name, among built-in coins and those of other distributions.

Coins register under the entry-point group `pithead.coins`; each entry point names a
`CoinFamilyMember`. Only the coin asked for is imported.
"""

from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from pithead.coins.params import ChainParams, CoinFamilyMember

GROUP = "pithead.coins"


class UnknownCoin(LookupError):
    """No such coin or network; the message lists what there is."""

    def __init__(self, wanted: str, kind: str, known: Iterable[str]) -> None:
        self.wanted = wanted
        self.known = tuple(sorted(known))
        listed = ", ".join(self.known) or "none"
        super().__init__(f"unknown {kind} {wanted!r}; known: {listed}")


class BrokenCoin(TypeError):
    """An installed entry point cannot be loaded or is no coin; the message names it."""


def coin_names() -> tuple[str, ...]:
    """Names of all installed coins, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_coin(coin: str, points: Iterable[EntryPoint]) -> CoinFamilyMember:
    """The coin named `coin` among `points`; raises UnknownCoin or BrokenCoin."""
    named = {point.name: point for point in points}
    point = named.get(coin)
    if point is None:
        raise UnknownCoin(coin, "coin", named)
    try:
        member = point.load()
    except (ImportError, AttributeError) as error:
        raise BrokenCoin(f"coin {coin!r} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(member, CoinFamilyMember):
        raise BrokenCoin(
            f"coin {coin!r} ({point.value}) is a {type(member).__name__}, not a CoinFamilyMember"
        )
    return member


def chain_params(
    coin: str, network: str, points: Iterable[EntryPoint] | None = None
) -> ChainParams:
    """Parameters of `<coin>/<network>`; raises UnknownCoin that lists what there is.

    `points` stands in for the installed entry points.
    """
    member = _installed_coin(coin) if points is None else load_coin(coin, points)
    params = member.networks.get(network)
    if params is None:
        raise UnknownCoin(network, f"network of {coin}", member.networks)
    return params


@lru_cache(maxsize=64)
def _installed_coin(coin: str) -> CoinFamilyMember:
    return load_coin(coin, entry_points(group=GROUP))
