"""The constants of one chain: what consensus, its addresses and its miners agree on.

A `ChainParams` is a value; families of coins fill it in and the registry hands it out. It
knows nothing of nodes, pools or money policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Pow = Literal["scrypt", "sha256d"]

DIFF1_SHA256D = 0xFFFF << 208
"""Target of difficulty 1 as Bitcoin miners know it ("bdiff" of compact bits 1d00ffff)."""

DIFF1_SCRYPT = 0xFFFF << 224
"""Target of difficulty 1 as scrypt miners know it: 65,536 times Bitcoin's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainParams:
    """One network of one coin.

    `shift` scales work to weight: weight = expected hashes >> shift. A cell of the books holds
    63 bits and has to hold one day of a hundred times the whole network:

    - Bitcoin: 10^21 H/s x 100 x 86,400 s = 8.6 x 10^27 = 2^92.8 hashes; >> 32 leaves 2^60.8.
    - Litecoin: 4 x 10^15 H/s x 100 x 86,400 s = 3.5 x 10^22 = 2^74.9 hashes; >> 16 leaves 2^58.9.
    - Test chains: 2^63 hashes over a day are 10^14 H/s with shift 0, more than one machine has.

    So a hundred networks still leave a factor of four. The unit stays small beside a share:
    2^32 hashes are Bitcoin's difficulty 1, 2^16 are Litecoin's.
    """

    coin: str
    """Name in the registry: `litecoin`."""
    network: str
    """`mainnet`, `testnet` or `regtest`."""
    symbol: str
    """Ticker for display: `LTC`."""
    pow: Pow
    """Function that a header is judged by."""
    diff1_target: int
    """Target that miners call difficulty 1."""
    pow_limit: int
    """Easiest target that consensus allows."""
    shift: int
    """Expected hashes >> shift = weight."""
    p2pkh_prefix: int
    """Version byte of a base58 key-hash address."""
    p2sh_prefixes: tuple[int, ...]
    """Version bytes of base58 script-hash addresses; the first is the one we write."""
    wif_prefix: int
    """Version byte of an exported private key."""
    bech32_hrp: str
    """Human-readable part of segwit addresses."""
    segwit: bool
    """Whether witness programs are spendable there."""
    coinbase_maturity: int
    """Depth at which a coinbase output can be spent."""
    dust: int
    """Smallest output that nodes relay, base units (P2PKH at 3 sat/vB)."""
    gbt_rules: tuple[str, ...]
    """Rules that `getblocktemplate` must be asked with."""
    subsidy_initial: int
    """Base units of a block before the first halving."""
    halving_interval: int
    """Blocks between halvings."""
    block_interval_s: int
    """Mean seconds between blocks that consensus aims at."""
    decimals: int = 8
    """Base units per coin are 10^decimals."""
    block_weight_max: int = 4_000_000
    """BIP141 weight limit of a block; a block never has more bytes than this."""

    @property
    def key(self) -> str:
        """Name of the chain in records and books: `<coin>/<network>`."""
        return f"{self.coin}/{self.network}"

    def subsidy(self, height: int) -> int:
        """Base units that the block at `height` creates, fees aside."""
        halvings = height // self.halving_interval
        return self.subsidy_initial >> halvings if halvings < 64 else 0


@dataclass(frozen=True, slots=True)
class CoinFamilyMember:
    """A coin with its networks: what an entry point of the group `pithead.coins` names."""

    name: str
    networks: Mapping[str, ChainParams]
