"""Logins as miners type them: `address.worker`, with wishes in the password. Pure."""

import re
from decimal import Decimal

import msgspec

from pithead.coins.address import AddressError, normal_address
from pithead.coins.params import ChainParams
from pithead.stratum.errors import LoginError
from pithead.stratum.parsing import parse_difficulty

WORKER_CHARACTERS_MAX = 64
PASSWORD_CHARACTERS_MAX = 256

_WORKER = re.compile(r"[0-9A-Za-z_.:@+-]*")


class Login:
    """A normalised login of this process; one object a distinct login and slot, so it can count."""

    __slots__ = ("__weakref__", "account", "slot", "work", "worker")

    def __init__(self, account: str, worker: str, slot: int) -> None:
        self.account = account
        self.worker = worker
        self.slot = slot
        self.work = 0
        """Weight credited by this process, for display."""

    @property
    def text(self) -> str:
        """The login as people write it."""
        return f"{self.account}.{self.worker}" if self.worker else self.account


class Wishes(msgspec.Struct, frozen=True):
    """What a password asks for; None: nothing."""

    start: Decimal | None = None
    minimum: Decimal | None = None


def parse_login(params: ChainParams, user: str) -> tuple[str, str]:
    """Split and check a login; returns the address in its one usual spelling, and the worker.

    Space around it, which people paste and some firmware cuts off, is no part of it.
    Raises LoginError with a sentence for the miner.
    """
    address, _, worker = user.strip().partition(".")
    try:
        account = normal_address(params, address)
    except AddressError as error:
        raise LoginError(f"login is ADDRESS[.WORKER]: {error}") from error
    if len(worker) > WORKER_CHARACTERS_MAX or not _WORKER.fullmatch(worker):
        raise LoginError(
            f"a worker name has at most {WORKER_CHARACTERS_MAX} characters: "
            "letters, digits and any of _ . : @ + -"
        )
    return account, worker


def parse_password(password: str) -> Wishes:
    """Read `d=` (start difficulty) and `md=` (minimum difficulty); anything else means nothing."""
    found: dict[str, Decimal | None] = {}
    for part in re.split(r"[,; ]+", password[:PASSWORD_CHARACTERS_MAX]):
        name, _, value = part.partition("=")
        found[name] = parse_difficulty(value)
    return Wishes(found.get("d"), found.get("md"))
