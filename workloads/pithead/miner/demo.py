"""Addresses of demonstration miners, with keys that really can spend. Pure.

Derived from a seed: the same data directory gives the same miners again, and
nobody has to keep their keys.
"""

from hashlib import sha256

from pithead.coins.address import address_of_script
from pithead.coins.params import ChainParams
from pithead.coins.sign import ORDER, PrivateKey

_DOMAIN = b"pithead demo miner"


def demo_address(params: ChainParams, seed: bytes, index: int) -> tuple[str, PrivateKey]:
    """Return the witness (P2WPKH) address of demo miner `index` and its key.

    For test chains: whoever knows the seed can spend. ValueError when the chain
    has no witness addresses.
    """
    material = _DOMAIN + len(seed).to_bytes(4, "big") + seed + index.to_bytes(4, "big")
    secret = sha256(material).digest()
    while not 0 < int.from_bytes(secret, "big") < ORDER:  # Once in 2^128 seeds.
        secret = sha256(secret).digest()
    key = PrivateKey(secret)
    address = address_of_script(params, key.p2wpkh())
    if address is None:
        raise ValueError(f"{params.key} has no witness addresses")
    return address, key
