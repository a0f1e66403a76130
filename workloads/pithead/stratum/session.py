"""One connection's mining state: which serials it has at which difficulty, and who mines. Pure.

Holds invariant JobDifficulty on the connection's side: `offer` sends a serial
once, at one weight; a changed weight goes out with a serial that this connection
has not seen. extranonce1 is the slot byte and a counter that no connection of
the process gets again (UniqueWork).
"""

from functools import lru_cache

from pithead.coins.params import ChainParams
from pithead.coins.weight import difficulty_of_weight, fair_weight, target_of_weight
from pithead.stratum import encoding
from pithead.stratum.jobs import JobBook, WorkEntry
from pithead.stratum.login import Login
from pithead.stratum.validation import Sent
from pithead.stratum.vardiff import Vardiff

LOGINS_MAX = 16
"""A proxy with more workers than this opens a second connection."""
SENT_MAX = 64
"""Serials that a connection may still answer; the book retires works long before, as a rule."""
COUNTER_BYTES = 4


class Extranonce1Exhausted(Exception):
    """Raised when the process has given out every extranonce1: it must be started anew."""

    def __init__(self) -> None:
        super().__init__("every extranonce1 of this process is used; start it again")


class Extranonce1Counter:
    """Gives out extranonce1: unique in the process, across all slots."""

    def __init__(self, next_counter: int = 0) -> None:
        self._next = next_counter

    def take(self, slot: int) -> bytes:
        """Return the slot byte and the next counter, five bytes."""
        if self._next >= 1 << 8 * COUNTER_BYTES:
            raise Extranonce1Exhausted
        counter = self._next
        self._next += 1
        return bytes((slot,)) + counter.to_bytes(COUNTER_BYTES, "big")


@lru_cache(maxsize=4096)
def difficulty_line(weight: int, params: ChainParams) -> bytes:
    """Return the mining.set_difficulty line of a weight."""
    return encoding.set_difficulty(difficulty_of_weight(weight, params))


@lru_cache(maxsize=4096)
def _fair(weight: int, params: ChainParams) -> int:
    return fair_weight(weight, params)


@lru_cache(maxsize=4096)
def _target(weight: int, shift: int) -> int:
    return target_of_weight(weight, shift)


class Session:
    """What one connection was sent, and the logins that it may be credited under."""

    __slots__ = (
        "_entry",
        "_params",
        "_shown",
        "_variant_index",
        "extranonce1",
        "first_login",
        "logins",
        "pending",
        "sent",
        "slot",
        "vardiff",
    )

    def __init__(self, params: ChainParams, slot: int, extranonce1: bytes, vardiff: Vardiff):
        self.slot = slot
        self.extranonce1 = extranonce1
        self.vardiff = vardiff
        self.logins: dict[str, Login] = {}
        """Durable logins, by the text that the miner uses for them."""
        self.pending = 0
        """Logins on their way into the log."""
        self.first_login: Login | None = None
        self.sent: dict[str, Sent] = {}
        self._params = params
        self._entry: WorkEntry | None = None
        self._variant_index = 0
        self._shown = 0

    def may_add_login(self) -> bool:
        """Tell whether there is room for another login."""
        return len(self.logins) + self.pending < LOGINS_MAX

    def add_login(self, user: str, login: Login) -> None:
        """Note that a login's session record is durable."""
        self.logins[user] = login
        if self.first_login is None:
            self.first_login = login

    def weight_for(self, entry: WorkEntry) -> int:
        """Return the weight that a serial of this work would be sent at now.

        What vardiff wishes, lifted to what its shown number is worth, never above
        the network's.
        """
        return min(_fair(self.vardiff.weight, self._params), entry.weight_max)

    def offer(self, book: JobBook, entry: WorkEntry) -> bytes:
        """Return the lines that bring the connection onto this work at its present weight.

        The miner is told to drop its older jobs when its last one is stale. Empty when
        it is there already, or when this work has no serial left for another
        retarget: then the next template brings the new difficulty.
        """
        weight = self.weight_for(entry)
        if entry is not self._entry:
            index = 0
            self._forget_retired()
        elif weight == self._shown:
            return b""
        else:
            index = self._variant_index + 1
        variant = book.variant(entry, index)
        if variant is None:
            return b""
        clean = self._entry is None or self._entry.stale is not None
        self._entry = entry
        self._variant_index = index
        self.sent[variant.job_id] = Sent(variant, weight, _target(weight, self._params.shift))
        line = variant.notify(clean=clean)
        if weight == self._shown:
            return line
        self._shown = weight
        return difficulty_line(weight, self._params) + line

    @property
    def shown_weight(self) -> int:
        """The weight of the newest job sent, 0 before the first."""
        return self._shown

    def _forget_retired(self) -> None:
        sent = self.sent
        gone = [job_id for job_id, item in sent.items() if item.variant.entry.retired]
        for job_id in gone:
            del sent[job_id]
        while len(sent) >= SENT_MAX:
            del sent[next(iter(sent))]
