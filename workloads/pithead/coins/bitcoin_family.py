"""The coins of the Bitcoin family that ship with Pithead: Bitcoin, Litecoin and the devchain.

Values are those of each reference node's chain parameters (Bitcoin Core `chainparams.cpp`,
Litecoin Core 0.21 `chainparams.cpp`); the devchain's are ours.
"""

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from pithead.coins.params import DIFF1_SCRYPT, DIFF1_SHA256D, ChainParams, CoinFamilyMember

REGTEST_POW_LIMIT = 0x7FFFFF << 232
"""Compact bits 207fffff: every second hash wins."""

COIN = 100_000_000


def _member(name: str, networks: Iterable[ChainParams]) -> CoinFamilyMember:
    return CoinFamilyMember(name, MappingProxyType({p.network: p for p in networks}))


_BITCOIN = ChainParams(
    coin="bitcoin",
    network="mainnet",
    symbol="BTC",
    pow="sha256d",
    diff1_target=DIFF1_SHA256D,
    pow_limit=DIFF1_SHA256D,
    shift=32,
    p2pkh_prefix=0,
    p2sh_prefixes=(5,),
    wif_prefix=128,
    bech32_hrp="bc",
    segwit=True,
    coinbase_maturity=100,
    dust=546,
    gbt_rules=("segwit",),
    subsidy_initial=50 * COIN,
    halving_interval=210_000,
    block_interval_s=600,
)
_BITCOIN_TESTNET = replace(
    _BITCOIN,
    network="testnet",
    symbol="tBTC",
    p2pkh_prefix=111,
    p2sh_prefixes=(196,),
    wif_prefix=239,
    bech32_hrp="tb",
)
_BITCOIN_REGTEST = replace(
    _BITCOIN_TESTNET,
    network="regtest",
    symbol="rBTC",
    bech32_hrp="bcrt",
    pow_limit=REGTEST_POW_LIMIT,
    shift=0,
    halving_interval=150,
)
BITCOIN = _member("bitcoin", (_BITCOIN, _BITCOIN_TESTNET, _BITCOIN_REGTEST))
"""Bitcoin."""

# Litecoin writes script hashes with a prefix of its own and still reads Bitcoin's.
_LITECOIN = replace(
    _BITCOIN,
    coin="litecoin",
    symbol="LTC",
    pow="scrypt",
    diff1_target=DIFF1_SCRYPT,
    pow_limit=0x0FFFFF << 216,
    shift=16,
    p2pkh_prefix=48,
    p2sh_prefixes=(50, 5),
    wif_prefix=176,
    bech32_hrp="ltc",
    dust=5460,
    gbt_rules=("mweb", "segwit"),
    halving_interval=840_000,
    block_interval_s=150,
)
_LITECOIN_TESTNET = replace(
    _LITECOIN,
    network="testnet",
    symbol="tLTC",
    p2pkh_prefix=111,
    p2sh_prefixes=(58, 196),
    wif_prefix=239,
    bech32_hrp="tltc",
)
_LITECOIN_REGTEST = replace(
    _LITECOIN_TESTNET,
    network="regtest",
    symbol="rLTC",
    bech32_hrp="rltc",
    pow_limit=REGTEST_POW_LIMIT,
    shift=0,
    halving_interval=150,
)
LITECOIN = _member("litecoin", (_LITECOIN, _LITECOIN_TESTNET, _LITECOIN_REGTEST))
"""Litecoin."""

# Prefixes that no other chain here uses, so that a devchain address is refused everywhere else.
DEVCHAIN = _member(
    "devchain",
    (
        replace(
            _BITCOIN_REGTEST,
            coin="devchain",
            symbol="DVC",
            p2pkh_prefix=30,
            p2sh_prefixes=(90,),
            wif_prefix=158,
            bech32_hrp="dvc",
            coinbase_maturity=10,
            halving_interval=210_000,
            block_interval_s=10,
        ),
    ),
)
"""The built-in chain for demos, simulation and fault injection."""
