"""Names and ids of pools, accounts and schemes, out of accounting's tables."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.shares import schema
from pithead.shares.books import CACHE_MAX, CHUNK, AccountBook
from pithead.shares.pools import Pool, read_slots
from pithead.shares.states import INT63_MAX
from pithead.store import reading


class NoSuch(LookupError):
    """Raised for a pool, account or worker that nobody knows here."""


class Names:
    """Looks names up in one database; ids never change, so what was found is remembered."""

    def __init__(self, engine: AsyncEngine, pools: Sequence[Pool]) -> None:
        self._engine = engine
        self._pools: Mapping[str, Pool] = {pool.name: pool for pool in pools}
        self._books = {pool.coin: AccountBook(pool.coin, pool.params) for pool in pools}
        self._logins: dict[tuple[str, int], str] = {}

    def pool(self, name: str) -> Pool:
        """The pool of a poolId; NoSuch."""
        found = self._pools.get(name)
        if found is None:
            known = ", ".join(sorted(self._pools)) or "none"
            raise NoSuch(f"pool {name!r} is not known here; there is: {known}")
        return found

    async def account(self, pool: Pool, login: str) -> int:
        """Id of the account of a login, in any spelling of it; NoSuch."""
        book = self._books[pool.coin]
        async with reading(self._engine) as connection:
            found = await book.resolve(connection, [login], create=False)
        book.keep()
        if login not in found:
            raise NoSuch(f"nobody has mined as {login!r} on {pool.coin} yet")
        return found[login]

    async def check_account(self, pool: Pool, account: int) -> None:
        """NoSuch when the pool's coin has no account of that id."""
        if not await self.logins(pool, [account]):
            raise NoSuch(f"there is no account {account} on {pool.coin}")

    async def logins(self, pool: Pool, accounts: Iterable[int]) -> dict[int, str]:
        """Logins of accounts as first seen; unknown ones are left out."""
        # Ids beyond 63 bits exist nowhere, and no database would take them.
        wanted = {number for number in accounts if 0 < number <= INT63_MAX}
        missing = sorted(number for number in wanted if (pool.coin, number) not in self._logins)
        if len(self._logins) + len(missing) > CACHE_MAX:
            self._logins.clear()
            missing = sorted(wanted)
        table = schema.accounts
        for start in range(0, len(missing), CHUNK):
            query = select(table.c.id, table.c.login).where(
                table.c.coin == pool.coin, table.c.id.in_(missing[start : start + CHUNK])
            )
            async with reading(self._engine) as connection:
                rows = await connection.execute(query)
                self._logins |= {(pool.coin, int(row.id)): str(row.login) for row in rows}
        return {
            number: self._logins[pool.coin, number]
            for number in wanted
            if (pool.coin, number) in self._logins
        }

    async def schemes(self, pool: Pool) -> dict[int, str]:
        """Names of schemes by slot."""
        async with reading(self._engine) as connection:
            return {row.slot: row.scheme for row in await read_slots(connection, pool.id)}
