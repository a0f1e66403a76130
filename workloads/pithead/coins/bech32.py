"""The checksummed base-32 text of segwit addresses: BIP173 (bech32) and BIP350 (bech32m).

`decode` tells the two checksums apart and leaves to the caller which one a witness version needs.
"""

from collections.abc import Iterable
from enum import Enum

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
LENGTH_MAX = 90
"""BIP173: beyond this the checksum no longer guarantees to find four errors."""
_CHECKSUM_SIZE = 6
_VALUES = {char: value for value, char in enumerate(CHARSET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


class Encoding(Enum):
    """Which checksum; the value is the constant that the polynomial must end in."""

    BECH32 = 1
    BECH32M = 0x2BC830A3


class Bech32Error(ValueError):
    """Text that is no bech32 or bech32m, or bits that do not make bytes."""


def decode(text: str) -> tuple[str, list[int], Encoding]:
    """Human-readable part in lower case, 5-bit values without the checksum, and its kind."""
    if len(text) > LENGTH_MAX:
        raise Bech32Error(f"is longer than {LENGTH_MAX} characters")
    if any(not 33 <= ord(char) <= 126 for char in text):
        raise Bech32Error("has a character outside printable ASCII")
    if text.lower() != text and text.upper() != text:
        raise Bech32Error("mixes upper and lower case")
    text = text.lower()
    split = text.rfind("1")
    if split < 1:
        raise Bech32Error("has no prefix before its last '1'")
    hrp, body = text[:split], text[split + 1 :]
    if len(body) < _CHECKSUM_SIZE:
        raise Bech32Error("is too short for a checksum")
    wrong = next((char for char in body if char not in _VALUES), None)
    if wrong is not None:
        raise Bech32Error(f"has the character {wrong!r}, which bech32 does not use")
    values = [_VALUES[char] for char in body]
    try:
        encoding = Encoding(_polymod([*_expand(hrp), *values]))
    except ValueError as error:
        raise Bech32Error("fails its checksum; look for a mistyped character") from error
    return hrp, values[:-_CHECKSUM_SIZE], encoding


def encode(hrp: str, values: Iterable[int], encoding: Encoding) -> str:
    """Text of 5-bit `values` under the lower-case prefix `hrp`."""
    body = list(values)
    check = _polymod([*_expand(hrp), *body, *[0] * _CHECKSUM_SIZE]) ^ encoding.value
    tail = [check >> 5 * (_CHECKSUM_SIZE - 1 - i) & 31 for i in range(_CHECKSUM_SIZE)]
    return hrp + "1" + "".join(CHARSET[value] for value in (*body, *tail))


def to_words(data: bytes) -> list[int]:
    """Bytes as 5-bit values, zero-padded at the end."""
    words, buffer, bits = [], 0, 0
    for byte in data:
        buffer = buffer << 8 | byte
        bits += 8
        while bits >= 5:
            bits -= 5
            words.append(buffer >> bits & 31)
        buffer &= (1 << bits) - 1
    if bits:
        words.append(buffer << (5 - bits) & 31)
    return words


def from_words(words: Iterable[int]) -> bytes:
    """5-bit values as bytes; padding must be zero and shorter than five bits."""
    data, buffer, bits = bytearray(), 0, 0
    for word in words:
        buffer = buffer << 5 | word
        bits += 5
        if bits >= 8:
            bits -= 8
            data.append(buffer >> bits)
            buffer &= (1 << bits) - 1
    if bits >= 5 or buffer:
        raise Bech32Error("has wrong padding bits at its end")
    return bytes(data)


def _expand(hrp: str) -> list[int]:
    return [*(ord(char) >> 5 for char in hrp), 0, *(ord(char) & 31 for char in hrp)]


def _polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, term in enumerate(_GENERATOR):
            if top >> i & 1:
                check ^= term
    return check
