"""Hypothesis strategies and builders that the tests of coins share."""

from typing import Any

from hypothesis import strategies as st

from pithead.coins.bitcoin_family import BITCOIN, DEVCHAIN, LITECOIN
from pithead.coins.params import ChainParams
from pithead.coins.script import WITNESS_COMMITMENT_PREFIX
from pithead.coins.tx import NULL_HASH, NULL_INDEX, OutPoint, Tx, TxIn, TxOut

CHAINS: tuple[ChainParams, ...] = tuple(
    params for member in (BITCOIN, LITECOIN, DEVCHAIN) for params in member.networks.values()
)
LTC_REGTEST = LITECOIN.networks["regtest"]
BTC = BITCOIN.networks["mainnet"]
DVC = DEVCHAIN.networks["regtest"]

u32 = st.integers(0, 0xFFFFFFFF)
hashes = st.binary(min_size=32, max_size=32)
outpoints = st.builds(OutPoint, hashes, u32)
outputs = st.builds(TxOut, st.integers(0, (1 << 63) - 1), st.binary(max_size=60))
inputs = st.builds(
    TxIn,
    outpoints,
    st.binary(max_size=60),
    u32,
    st.lists(st.binary(max_size=40), max_size=3).map(tuple),
)
transactions = st.builds(
    Tx,
    st.lists(inputs, min_size=1, max_size=4).map(tuple),
    st.lists(outputs, min_size=1, max_size=4).map(tuple),
    u32,
    u32,
)
coinbases = st.builds(
    lambda script, witness, outs: Tx(
        (TxIn(OutPoint(NULL_HASH, NULL_INDEX), script, 0, witness),), outs
    ),
    st.binary(min_size=2, max_size=100),
    st.sampled_from([(), (bytes(32),)]),
    st.lists(outputs, min_size=1, max_size=3).map(tuple),
)
heights = st.one_of(st.integers(1, 200), st.integers(1, 1 << 31))
commitments = hashes.map(lambda digest: WITNESS_COMMITMENT_PREFIX + digest)


def template_reply(
    *,
    height: int = 500,
    parent: bytes = bytes(range(32)),
    txs: tuple[Tx, ...] = (),
    commitment: bytes | None = WITNESS_COMMITMENT_PREFIX + bytes(32),
    **changes: Any,
) -> dict[str, Any]:
    """A `getblocktemplate` result of a regtest chain as litecoind words it."""
    reply: dict[str, Any] = {
        "version": 0x20000000,
        "rules": ["csv", "!segwit", "taproot"],
        "vbavailable": {},
        "vbrequired": 0,
        "previousblockhash": parent[::-1].hex(),
        "transactions": [
            {
                "data": tx.serialize().hex(),
                "txid": tx.txid()[::-1].hex(),
                "hash": tx.wtxid()[::-1].hex(),
                "depends": [],
                "fee": 0,
                "sigops": 1,
                "weight": tx.weight(),
            }
            for tx in txs
        ],
        "coinbaseaux": {},
        "coinbasevalue": 5_000_000_000,
        "longpollid": parent[::-1].hex() + "1",
        "target": (0x7FFFFF << 232).to_bytes(32, "big").hex(),
        "mintime": 1_700_000_000,
        "mutable": ["time", "transactions", "prevblock"],
        "noncerange": "00000000ffffffff",
        "sigoplimit": 80000,
        "sizelimit": 4_000_000,
        "weightlimit": 4_000_000,
        "curtime": 1_700_000_100,
        "bits": "207fffff",
        "height": height,
    }
    if commitment is not None:
        reply["default_witness_commitment"] = commitment.hex()
    return reply | changes


@st.composite
def template_replies(draw: st.DrawFn) -> dict[str, Any]:
    """Valid templates with and without transactions and commitments."""
    txs = tuple(draw(st.lists(transactions.filter(_big_enough), max_size=7)))
    needed = any(tx.has_witness for tx in txs)
    commitment = draw(commitments if needed else st.none() | commitments)
    return template_reply(
        height=draw(heights),
        parent=draw(hashes),
        txs=txs,
        commitment=commitment,
        coinbasevalue=draw(st.integers(0, 10**11)),
        curtime=draw(st.integers(1, 0xFFFFFFFF)),
        version=draw(st.integers(-(1 << 31), (1 << 31) - 1)),
    )


def _big_enough(tx: Tx) -> bool:
    return len(tx.serialize()) >= 60
