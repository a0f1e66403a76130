"""Who misbehaves: first the connection goes, then its address for a while. Pure.

A connection whose newest submits are mostly invalid is closed. An address that
lost `STRIKES_MAX` connections that way within one ban time is refused for one
ban time, unless another connection of it is in good standing: behind one
address there can be a whole farm, and one broken machine must not ban the rest.
Stale shares never count, they are the network's doing.
"""

from pithead.config import LimitSettings

STRIKES_MAX = 3
ADDRESSES_MAX = 10_000
"""Addresses remembered; above it the one struck longest ago is forgotten."""


class Conduct:
    """Valid and invalid submits of one connection, in windows."""

    __slots__ = ("_invalid", "_total", "good")

    def __init__(self) -> None:
        self._total = 0
        self._invalid = 0
        self.good = False
        """Whether the connection has had any share credited."""

    def valid(self) -> None:
        """Note a credited share."""
        self.good = True
        self._total += 1

    def invalid(self, limits: LimitSettings) -> bool:
        """Note an invalid submit; True when the connection is to be closed."""
        self._total += 1
        self._invalid += 1
        if self._total < limits.invalid_window:
            return False
        bad = self._invalid * 100 >= limits.invalid_percent * self._total
        # Halved, not cleared, so that no rhythm of good and bad slips through between windows.
        self._total //= 2
        self._invalid //= 2
        return bad


class Bans:
    """Strikes and bans by peer address."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._strikes: dict[str, list[int]] = {}
        self._until_ms: dict[str, int] = {}

    def strike(self, address: str, now_ms: int, *, others_good: bool) -> bool:
        """Note a connection closed for misconduct; True when its address is banned by it."""
        since = now_ms - self._limits.ban_ms
        strikes = [at for at in self._strikes.pop(address, []) if at > since]
        strikes.append(now_ms)
        if len(strikes) >= STRIKES_MAX and not others_good:
            self._bound(self._until_ms)
            self._until_ms[address] = now_ms + self._limits.ban_ms
            return True
        self._bound(self._strikes)
        self._strikes[address] = strikes[-STRIKES_MAX:]
        return False

    def banned(self, address: str, now_ms: int) -> bool:
        """Tell whether new connections of the address are refused now."""
        until = self._until_ms.get(address)
        if until is None:
            return False
        if now_ms < until:
            return True
        del self._until_ms[address]
        return False

    def _bound(self, table: dict[str, list[int]] | dict[str, int]) -> None:
        while len(table) >= ADDRESSES_MAX:
            del table[next(iter(table))]
