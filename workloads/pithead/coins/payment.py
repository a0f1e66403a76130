"""Which coins a payment spends and what it costs: pure arithmetic, no node and no key.

Coins are taken largest first (then oldest, then by output point), so that the same list always
gives the same choice. The fee is the signed size in virtual bytes times the rate; change below the
chain's dust limit goes to the fee.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pithead.coins.script import is_p2wpkh
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut, varint

SEQUENCE_REPLACEABLE = 0xFFFFFFFD
"""BIP125: the payment may be replaced by one that pays a higher fee, which a bump needs."""

PAYMENT_WEIGHT_MAX = 400_000
"""Nodes do not relay a heavier transaction (MAX_STANDARD_TX_WEIGHT)."""

_BASE_WEIGHT = 4 * (4 + 4) + 2
"""Version and locktime, marker and flag."""
_INPUT_WEIGHT_P2WPKH = 4 * 41 + 1 + 1 + 72 + 1 + 33
_INPUT_WEIGHT_OTHER = 4 * (41 + 1 + 72 + 1 + 33) + 1
"""P2PKH, with the empty witness that it has beside segwit inputs."""


@dataclass(frozen=True, slots=True)
class Coin:
    """An output that the wallet can spend; `amount` in base units."""

    outpoint: OutPoint
    amount: int
    script: bytes
    confirmations: int


def weight_bound(coins: Iterable[Coin], outputs: Sequence[TxOut]) -> int:
    """BIP141 weight that a signed spend of `coins` into `outputs` does not exceed."""
    count = 0
    weight = _BASE_WEIGHT
    for coin in coins:
        count += 1
        weight += _INPUT_WEIGHT_P2WPKH if is_p2wpkh(coin.script) else _INPUT_WEIGHT_OTHER
    weight += 4 * (len(varint(count)) + len(varint(len(outputs))))
    return weight + 4 * sum(len(out.serialize()) for out in outputs)


def ordered(coins: Iterable[Coin], exclude: Collection[OutPoint]) -> list[Coin]:
    """The order in which coins are taken: largest, then oldest, then by output point."""
    return sorted(
        (coin for coin in coins if coin.outpoint not in exclude),
        key=lambda coin: (
            -coin.amount,
            -coin.confirmations,
            coin.outpoint.txid,
            coin.outpoint.index,
        ),
    )


def select(
    available: Sequence[Coin],
    first: Coin | None,
    outputs: Sequence[TxOut],
    change: TxOut,
    fee_rate: int,
) -> tuple[Coin, ...] | None:
    """The fewest coins, in their order, that cover `outputs` and the fee; None when all do not.

    `first` is spent in any case. The fee is bounded from above, as if there were change.
    """
    wanted = sum(out.value for out in outputs)
    chosen: list[Coin] = []
    rest = iter(available)
    coin = first if first is not None else next(rest, None)
    weight = weight_bound((), (*outputs, change))
    total = 0
    while coin is not None:
        chosen.append(coin)
        total += coin.amount
        weight += _INPUT_WEIGHT_P2WPKH if is_p2wpkh(coin.script) else _INPUT_WEIGHT_OTHER
        # Two more bytes for each step of the input count's size.
        bound = weight + 4 * (len(varint(len(chosen))) - 1)
        if total >= wanted + fee_of(bound, fee_rate):
            return tuple(chosen)
        coin = next((other for other in rest if other != first), None)
    return None


def fee_of(weight: int, fee_rate: int) -> int:
    """Base units for `weight` at `fee_rate` base units per virtual byte (BIP141: weight / 4)."""
    return (weight + 3) // 4 * fee_rate


def payment(coins: Iterable[Coin], outputs: Sequence[TxOut], variant: int = 0) -> Tx:
    """The unsigned transaction; each `variant` below 2^16 is another one with the same meaning."""
    # Every sequence number down to 0x80000000 is replaceable and without a relative lock (BIP68).
    inputs = tuple(TxIn(coin.outpoint, sequence=SEQUENCE_REPLACEABLE - variant) for coin in coins)
    return Tx(inputs, tuple(outputs))
