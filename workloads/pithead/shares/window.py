"""Order of groups and the cut of a window. Pure.

A pool has one order of its groups: by height, at each height first the group of
all late shares that its seal takes in, then by the segment's hash (internal
byte order, compared bytewise), then by minute. A window of weight W takes
groups backwards from the end of the block's own segment. Of the last one taken,
of weight G, only r may be needed; weights stay exact because cells of that
group count weight * r and all others weight * G (left to the scheme).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

HASH_FORMAT = "pithead window 1"


class GroupKey(NamedTuple):
    """Place of a group in its pool's order; tuples compare as the order does."""

    height: int
    in_time: bool
    parent: bytes
    """Empty for a late group."""
    minute: int
    """0 for a late group."""

    @property
    def name(self) -> str:
        """Shown to people, and part of the window's hash."""
        if not self.in_time:
            return f"{self.height}/late"
        return f"{self.height}/{self.parent[::-1].hex()}/{self.minute}"


def late_group(height: int) -> GroupKey:
    """The group of the late shares that count at a height."""
    return GroupKey(height, in_time=False, parent=b"", minute=0)


@dataclass(frozen=True, slots=True)
class Cut:
    """What a window takes. Oldest and newest are None when there is no group at all."""

    groups: int
    oldest: GroupKey | None
    newest: GroupKey | None
    group_weight: int
    """G: all of the oldest group taken."""
    needed: int
    """r: how much of it is wanted; G when the window ends on its edge or is unfilled."""
    filled: bool


@dataclass(frozen=True, slots=True)
class AccountWeight:
    """An account's part of a window."""

    account: int
    full: int
    """In all groups but the oldest."""
    last: int
    """In the oldest group."""


def cut(groups: Iterable[tuple[GroupKey, int]], weight: int) -> Cut:
    """Take groups, given newest first, until their weights reach `weight` (at least 1).

    Reads no further than needed. ValueError for groups out of order or without weight.
    """
    if weight < 1:
        raise ValueError(f"a window has a weight of at least 1, got {weight}")
    taken = 0
    total = 0
    newest: GroupKey | None = None
    oldest: GroupKey | None = None
    group_weight = 0
    for key, group_weight in groups:
        if oldest is not None and key >= oldest:
            raise ValueError(f"group {key.name} comes after {oldest.name}")
        if group_weight < 1:
            raise ValueError(f"group {key.name} weighs {group_weight}")
        newest = newest or key
        oldest = key
        taken += 1
        total += group_weight
        if total >= weight:
            needed = group_weight - (total - weight)
            return Cut(taken, oldest, newest, group_weight, needed, filled=True)
    return Cut(taken, oldest, newest, group_weight, group_weight, filled=False)


def window_hash(
    *,
    pool: str,
    scheme: str,
    height: int,
    parent: bytes,
    weight: int,
    taken: Cut,
    accounts: Iterable[AccountWeight],
) -> bytes:
    """sha256 of the canonical window: lines of text, accounts by id.

    Two windows are equal when their hashes are: what was asked, where it was
    cut, and each account's weights all enter.
    """
    digest = sha256()

    def line(*fields: object) -> None:
        digest.update(("\t".join(map(str, fields)) + "\n").encode())

    line(HASH_FORMAT)
    line("pool", pool)
    line("scheme", scheme)
    line("end", height, parent[::-1].hex())
    line("weight", weight)
    line("groups", taken.groups, "filled", int(taken.filled))
    line("newest", taken.newest.name if taken.newest else "-")
    line("oldest", taken.oldest.name if taken.oldest else "-")
    line("group", taken.group_weight, "needed", taken.needed)
    for account in sorted(accounts, key=lambda entry: entry.account):
        line("account", account.account, account.full, account.last)
    return digest.digest()
