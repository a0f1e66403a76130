"""Addresses to locking scripts and back: base58check, bech32 (BIP173), bech32m (BIP350).

A refusal says what is wrong in words that can be shown to a miner. Only scripts that the chain
can spend today get an address: witness version 0 with 20 or 32 bytes and version 1 with 32. Coins
sent to a later version could be taken by anyone.
"""

import base58

from pithead.coins import bech32, script
from pithead.coins.params import ChainParams

ADDRESS_LENGTH_MAX = 128
"""Longer text is refused unread; bech32 ends at 90, base58 addresses at 36 characters."""

_MWEB_PREFIXES = ("ltcmweb1", "tmweb1")


class AddressError(ValueError):
    """Text that is no address of the chain; the message says why, in a sentence for a user."""


def script_of_address(params: ChainParams, address: str) -> bytes:
    """Locking script that pays `address` on the chain; raises AddressError."""
    if not address:
        raise AddressError("the address is empty")
    if address.lower().startswith(_MWEB_PREFIXES):
        raise AddressError(f"{_shown(address)} is an MWEB address; those cannot be paid yet")
    if len(address) > ADDRESS_LENGTH_MAX:
        raise AddressError(f"{_shown(address)} is longer than {ADDRESS_LENGTH_MAX} characters")
    if address.lower().startswith(params.bech32_hrp + "1"):
        return _script_of_bech32(params, address)
    try:
        payload = base58.b58decode_check(address)
    except ValueError:
        # Read it as bech32 of some other chain, so that the refusal can name its prefix.
        return _script_of_bech32(params, address)
    return _script_of_base58(params, address, payload)


def address_of_script(params: ChainParams, locking: bytes) -> str | None:
    """The address of a locking script in its usual form, or None when it has none."""
    if script.is_p2pkh(locking):
        return _base58check(params.p2pkh_prefix, locking[3:23])
    if script.is_p2sh(locking):
        return _base58check(params.p2sh_prefixes[0], locking[2:22])
    if not params.segwit:
        return None
    program = script.witness_program(locking)
    if program is None or _witness_fault(*program) is not None:
        return None
    version, data = program
    encoding = bech32.Encoding.BECH32M if version else bech32.Encoding.BECH32
    return bech32.encode(params.bech32_hrp, [version, *bech32.to_words(data)], encoding)


def normal_address(params: ChainParams, address: str) -> str:
    """The one spelling of `address` that stands for its script; raises AddressError."""
    normal = address_of_script(params, script_of_address(params, address))
    if normal is None:
        raise AddressError(f"{_shown(address)} has no usual form on {params.key}")
    return normal


def _script_of_bech32(params: ChainParams, address: str) -> bytes:
    try:
        hrp, values, encoding = bech32.decode(address)
        program = bech32.from_words(values[1:])
    except bech32.Bech32Error as error:
        if not address.lower().startswith(params.bech32_hrp + "1"):
            raise AddressError(
                f"{_shown(address)} is no address: neither base58 nor bech32 with a valid checksum"
            ) from error
        raise AddressError(f"{_shown(address)} {error}") from error
    if hrp != params.bech32_hrp:
        raise AddressError(
            f"{_shown(address)} belongs to another network: its prefix is {hrp!r}, "
            f"{params.key} uses {params.bech32_hrp!r}"
        )
    if not params.segwit:
        raise AddressError(f"{_shown(address)} is a segwit address; {params.key} has no segwit")
    if not values:
        raise AddressError(f"{_shown(address)} has no witness version")
    version = values[0]
    if (encoding is bech32.Encoding.BECH32) != (version == 0):
        wanted = "bech32m" if version else "bech32"
        raise AddressError(f"{_shown(address)} needs a {wanted} checksum for version {version}")
    fault = _witness_fault(version, program)
    if fault is not None:
        raise AddressError(f"{_shown(address)} {fault}")
    return script.witness_script(version, program)


def _witness_fault(version: int, program: bytes) -> str | None:
    size = len(program)
    if version == 0:
        return None if size in {20, 32} else f"has a version 0 program of {size} bytes"
    if version == 1:
        return None if size == 32 else f"has a version 1 program of {size} bytes"
    return f"has witness version {version}, whose coins anyone could take"


def _script_of_base58(params: ChainParams, address: str, payload: bytes) -> bytes:
    if len(payload) != 21:
        raise AddressError(f"{_shown(address)} holds {len(payload)} bytes where 21 are expected")
    version, data = payload[0], payload[1:]
    if version == params.p2pkh_prefix:
        return script.p2pkh(data)
    if version in params.p2sh_prefixes:
        return script.p2sh(data)
    wanted = ", ".join(map(str, (params.p2pkh_prefix, *params.p2sh_prefixes)))
    raise AddressError(
        f"{_shown(address)} belongs to another network: its version byte is {version}, "
        f"{params.key} uses {wanted}"
    )


def _base58check(version: int, payload: bytes) -> str:
    return str(base58.b58encode_check(bytes((version,)) + payload).decode("ascii"))


def _shown(address: str) -> str:
    return repr(address if len(address) <= ADDRESS_LENGTH_MAX else address[:24] + "...")
