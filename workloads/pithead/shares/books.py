"""Ids of accounts and segments: given once and for ever, made when first met.

Known ids are cached. What a transaction made is cached only after it has
committed (`keep`): a rolled-back id may be given to another row later.
"""

from collections.abc import Iterable, Sequence
from itertools import islice, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.coins.address import AddressError, script_of_address
from pithead.coins.params import ChainParams
from pithead.shares import schema
from pithead.shares.locks import lock_books
from pithead.shares.records import SegmentKey
from pithead.shares.states import SegmentState
from pithead.store import insert_into

CACHE_MAX = 100_000
"""Entries: about 30 MB of logins. A larger pool asks the database again now and then."""

CHUNK = 500
"""Values in one IN list, below every database's limit on parameters."""

NAME_KEY = b"login:"
"""Before a login that is no address of the coin. No payout script begins so."""


class Payee(NamedTuple):
    """What a login stands for."""

    key: bytes
    script: bytes
    """Empty for a login that cannot be paid."""


def payee_of(params: ChainParams, login: str) -> Payee:
    """Key of the account: the script of an address, so all its spellings are one account.

    Edges refuse logins that are no address. One that comes all the same keeps
    its shares, in an account that nobody is paid from until an admin decides.
    """
    try:
        script = script_of_address(params, login)
    except AddressError:
        return Payee(NAME_KEY + login.encode(), b"")
    return Payee(script, script)


class AccountBook:
    """Account ids of one coin, by login."""

    def __init__(self, coin: str, params: ChainParams) -> None:
        self._coin = coin
        self._params = params
        self._known: dict[str, int] = {}
        self._fresh: dict[str, int] = {}

    def ids(self, logins: Sequence[str]) -> NDArray[np.int64]:
        """Ids of logins as far as they are remembered, 0 for the others."""
        return np.array(list(map(self._known.get, logins, repeat(0))), np.int64)

    async def resolve(
        self, connection: AsyncConnection, logins: Iterable[str], *, create: bool
    ) -> dict[str, int]:
        """Ids of logins; those without an account are made, or left out without `create`."""
        wanted = set(logins)
        found = {
            login: number
            for login in wanted
            if (number := self._known.get(login) or self._fresh.get(login))
        }
        payees = {login: payee_of(self._params, login) for login in sorted(wanted - found.keys())}
        if not payees:
            return found
        keys = sorted({payee.key for payee in payees.values()})
        ids = await self._ids(connection, keys)
        if create and len(ids) < len(keys):
            await lock_books(connection, self._coin)
            missing = {login: one for login, one in payees.items() if one.key not in ids}
            await self._create(connection, missing)
            ids = await self._ids(connection, keys)
        read = {login: ids[payee.key] for login, payee in payees.items() if payee.key in ids}
        self._fresh |= read
        return found | read

    def keep(self) -> None:
        """The transaction has committed."""
        if len(self._known) + len(self._fresh) > CACHE_MAX:
            self._known.clear()
        self._known |= self._fresh
        self._fresh.clear()

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._fresh.clear()

    async def _create(self, connection: AsyncConnection, payees: dict[str, Payee]) -> None:
        await connection.execute(
            insert_into(connection, schema.accounts).on_conflict_do_nothing(),
            [
                {"coin": self._coin, "key": payee.key, "script": payee.script, "login": login}
                for login, payee in payees.items()
            ],
        )

    async def _ids(self, connection: AsyncConnection, keys: Sequence[bytes]) -> dict[bytes, int]:
        table = schema.accounts
        ids: dict[bytes, int] = {}
        for start in range(0, len(keys), CHUNK):
            rows = await connection.execute(
                select(table.c.key, table.c.id).where(
                    table.c.coin == self._coin, table.c.key.in_(keys[start : start + CHUNK])
                )
            )
            ids |= {bytes(row.key): int(row.id) for row in rows}
        return ids


class SegmentBook:
    """Segment ids of one coin; keeps the newest block value beside them."""

    def __init__(self, coin: str) -> None:
        self._coin = coin
        self._known: dict[SegmentKey, tuple[int, int]] = {}
        self._fresh: dict[SegmentKey, tuple[int, int]] = {}

    async def resolve(
        self, connection: AsyncConnection, values: dict[SegmentKey, int], now_ms: int
    ) -> dict[SegmentKey, int]:
        """Ids of segments, made when first met; `values` are their newest block values."""
        found = {key: self._known[key] for key in values if key in self._known}
        unknown = [key for key in values if key not in found]
        if unknown:
            found |= await self._read(connection, unknown)
            missing = [key for key in unknown if key not in found]
            if missing:
                await lock_books(connection, self._coin)
                await self._create(connection, {key: values[key] for key in missing}, now_ms)
                found |= await self._read(connection, missing)
        changed = {
            key: (number, values[key])
            for key, (number, value) in found.items()
            if value != values[key]
        }
        if changed:
            # Segments are the coin's: pools that meet the same ones change them in turns.
            await lock_books(connection, self._coin)
            await connection.execute(
                update(schema.segments)
                .where(schema.segments.c.id == bindparam("number"))
                .values(value=bindparam("newest")),
                [{"number": number, "newest": value} for number, value in sorted(changed.values())],
            )
        self._fresh |= found | changed
        return {key: number for key, (number, _) in found.items()}

    def keep(self) -> None:
        """The transaction has committed."""
        self._known |= self._fresh
        self._fresh.clear()
        # Old segments are hardly ever met again.
        for key in list(islice(self._known, max(0, len(self._known) - CACHE_MAX))):
            del self._known[key]

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._fresh.clear()

    async def _create(
        self, connection: AsyncConnection, values: dict[SegmentKey, int], now_ms: int
    ) -> None:
        await connection.execute(
            insert_into(connection, schema.segments).on_conflict_do_nothing(),
            [
                {
                    "coin": self._coin,
                    "parent": key.parent,
                    "height": key.height,
                    "bits": key.bits,
                    "aux": key.aux,
                    "value": value,
                    "state": SegmentState.UNKNOWN,
                    "first_seen_ms": now_ms,
                }
                for key, value in values.items()
            ],
        )

    async def _read(
        self, connection: AsyncConnection, keys: Sequence[SegmentKey]
    ) -> dict[SegmentKey, tuple[int, int]]:
        table = schema.segments
        parents = sorted({key.parent for key in keys})
        wanted = set(keys)
        found: dict[SegmentKey, tuple[int, int]] = {}
        for start in range(0, len(parents), CHUNK):
            rows = await connection.execute(
                select(table).where(
                    table.c.coin == self._coin,
                    table.c.parent.in_(parents[start : start + CHUNK]),
                )
            )
            found |= {key: (row.id, row.value) for row in rows if (key := _key(row)) in wanted}
        return found


def _key(row: Row[tuple[object, ...]]) -> SegmentKey:
    return SegmentKey(row.parent, row.height, row.bits, tuple(tuple(aux) for aux in row.aux))
