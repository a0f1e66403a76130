"""Hash functions of the Bitcoin family.

Hashes are 32 bytes in internal (little-endian) order. RIPEMD-160 comes from pycryptodome,
because OpenSSL 3 builds often lack it.
"""

import hashlib
from collections.abc import Callable
from hashlib import sha256

from Crypto.Hash import RIPEMD160

from pithead.coins.params import ChainParams


def sha256d(data: bytes) -> bytes:
    """SHA-256 of the SHA-256 of `data`."""
    return sha256(sha256(data).digest()).digest()


def hash160(data: bytes) -> bytes:
    """RIPEMD-160 of the SHA-256 of `data`: key and script hashes, 20 bytes."""
    return bytes(RIPEMD160.new(sha256(data).digest()).digest())


def block_hash(header: bytes) -> bytes:
    """Identity of a block, internal order: SHA-256d of its 80-byte header, whatever its PoW."""
    return sha256(sha256(header).digest()).digest()


def sha256d_pow(header: bytes) -> int:
    """PoW value of an 80-byte header under SHA-256d; it meets a target when not above it."""
    return int.from_bytes(sha256(sha256(header).digest()).digest(), "little")


def scrypt_pow(header: bytes) -> int:
    """PoW value of an 80-byte header under scrypt (N 1024, r 1, p 1, salt = header)."""
    return int.from_bytes(hashlib.scrypt(header, salt=header, n=1024, r=1, p=1, dklen=32), "little")


_POW: dict[str, Callable[[bytes], int]] = {"sha256d": sha256d_pow, "scrypt": scrypt_pow}


def pow_function(params: ChainParams) -> Callable[[bytes], int]:
    """The chain's PoW function, to be looked up once where headers are hashed in a loop."""
    return _POW[params.pow]


def pow_hash(params: ChainParams, header: bytes) -> int:
    """PoW value of an 80-byte header as a number; it meets a target when not above it."""
    return _POW[params.pow](header)
