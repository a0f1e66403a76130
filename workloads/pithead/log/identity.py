"""Producer identities: UUID version 7 (RFC 9562, section 5.7). Pure.

A process mints one after its start and after any fork, from the clock and fresh
random bytes; nothing that a backup could restore takes part in it.
"""

RANDOM_BYTES = 10
"""74 bits are used: 12 after the version, 62 after the variant."""


def uuid7(now_ms: int, random: bytes) -> bytes:
    """Return the 16 bytes of a UUIDv7.

    `now_ms` is Unix time in milliseconds (48 bits), `random` ten fresh random
    bytes. ValueError when either does not fit.
    """
    if not 0 <= now_ms < 1 << 48:
        raise ValueError(f"time {now_ms} ms does not fit the 48 bits of a UUIDv7")
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a UUIDv7 takes {RANDOM_BYTES} random bytes, got {len(random)}")
    version_and_random = 0x7000 | int.from_bytes(random[:2], "big") & 0x0FFF
    variant_and_random = 2 << 62 | int.from_bytes(random[2:], "big") & (1 << 62) - 1
    return (
        now_ms.to_bytes(6, "big")
        + version_and_random.to_bytes(2, "big")
        + variant_and_random.to_bytes(8, "big")
    )


def minted_ms(producer: bytes) -> int:
    """Return the Unix milliseconds at which a UUIDv7 was minted; ValueError for any other."""
    if len(producer) != 16 or producer[6] >> 4 != 7 or producer[8] >> 6 != 2:
        raise ValueError(f"{producer.hex()} is no UUIDv7")
    return int.from_bytes(producer[:6], "big")
