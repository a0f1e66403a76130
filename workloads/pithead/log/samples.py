"""Which share of a batch carries its header, so that the hub can check it again. Pure.

Producer and sequence decide it, so the hub knows which one to expect, and one that
is missing shows. A digest spreads the choice evenly over a producer's batches; it
does not keep the choice from the producer, which knows both.
"""

from hashlib import sha256

SEQUENCE_BYTES = 8


def sample_digest(producer: bytes, sequence: int) -> bytes:
    """Return the 32 bytes that all choices about a batch come from."""
    return sha256(producer + sequence.to_bytes(SEQUENCE_BYTES, "big")).digest()


def sampled_share(producer: bytes, sequence: int, shares: int) -> int:
    """Return the index of the share that is the sample of a batch of so many, at least 1."""
    return int.from_bytes(sample_digest(producer, sequence), "big") % shares
