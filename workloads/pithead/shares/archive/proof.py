"""Checks the archive against itself: its chain, its bytes, and what stands beside them."""

from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.shares import schema
from pithead.shares.archive.book import (
    Archived,
    account_of,
    revision_of,
    segment_of,
    walk,
)
from pithead.shares.archive.rows import (
    GENESIS,
    ArchiveDamaged,
    HeightRows,
    Ids,
    Names,
    chain_hash,
    decode,
    decompress,
    empty_hash,
    scheme_weights,
)
from pithead.shares.fold import CellKind
from pithead.shares.recount import Cells, Facts


@dataclass(slots=True)
class Proven:
    """What a pool's archive holds, and what is wrong with it."""

    height: int
    """Highest archived height; below the first one when there is none."""
    names: Names
    """What the tables say of all ids."""
    hashes: dict[int, bytes] = field(default_factory=dict)
    """Hash of each row's last height."""
    cells: Cells = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def login(self, account: int) -> str:
        """Login of an account, empty for one that no table has."""
        found = self.names.accounts.get(account)
        return found.login if found is not None else ""


async def prove(connection: AsyncConnection, facts: Facts) -> Proven:
    """Read a pool's whole archive; each fault names heights and both sides."""
    names = await read_names(connection, facts.coin, facts.id)
    proven = Proven((facts.first_height or 0) - 1, names)
    before = GENESIS
    async for row in walk(connection, facts.id):
        span = _span(row)
        if row.first_height != proven.height + 1:
            proven.faults.append(
                f"{span}: it follows height {proven.height}, those between are not archived"
            )
        if row.before != before:
            proven.faults.append(
                f"{span}: it names {row.before.hex()} as the hash before it, which is "
                f"{before.hex()}"
            )
        proven.faults += [f"{span}: {fault}" for fault in _faults(facts.name, row, names)]
        try:
            proven.cells |= cells_of(row.last_height, row.rows(), row.ids)
        except (ArchiveDamaged, IndexError) as damage:
            proven.faults.append(f"{span}: {damage}")
        before = proven.hashes[row.last_height] = row.hash
        proven.height = row.last_height
    if proven.height > (facts.sealed_height or 0) and proven.hashes:
        proven.faults.append(
            f"height {proven.height} is archived, but only {facts.sealed_height} is sealed"
        )
    return proven


def cells_of(height: int, rows: HeightRows, ids: Ids) -> Cells:
    """Archived rows as cells of the database that the ids are of."""
    columns = (
        rows.seal.tolist(),
        rows.segment.tolist(),
        rows.minute.tolist(),
        rows.revision.tolist(),
        rows.account.tolist(),
        rows.weight.tolist(),
        rows.shares.tolist(),
    )
    return {
        (
            CellKind(height, seal, ids.segments[segment], ids.revisions[revision], account),
            minute,
        ): (weight, shares)
        for seal, segment, minute, revision, place, weight, shares in zip(*columns, strict=True)
        for account in (ids.accounts[place],)
    }


async def read_names(connection: AsyncConnection, coin: str, pool: int) -> Names:
    """All that a pool's cells can name."""
    accounts, segments, revisions = schema.accounts, schema.segments, schema.revisions
    return Names(
        accounts={
            row.id: account_of(row)
            for row in await connection.execute(accounts.select().where(accounts.c.coin == coin))
        },
        revisions={
            row.id: revision_of(row)
            for row in await connection.execute(revisions.select().where(revisions.c.pool == pool))
        },
        segments={
            row.id: segment_of(row)
            for row in await connection.execute(segments.select().where(segments.c.coin == coin))
        },
    )


def _span(row: Archived) -> str:
    if row.first_height == row.last_height:
        return f"height {row.first_height}"
    return f"heights {row.first_height} to {row.last_height}"


def _faults(pool: str, row: Archived, names: Names) -> list[str]:
    try:
        body = decompress(row.body)
        rows = decode(body)
    except ArchiveDamaged:
        # Told where the cells are read.
        return []
    faults = []
    if body and row.first_height == row.last_height:
        found = chain_hash(pool, row.last_height, row.before, body)
    elif not body:
        found = empty_hash(pool, row.first_height, row.last_height, row.before)
    else:
        return ["a run of heights without cells holds some"]
    if found != row.hash:
        faults.append(f"its bytes have the hash {found.hex()}, it says {row.hash.hex()}")
    if row.cells != len(rows):
        faults.append(f"it holds {len(rows)} cells and says {row.cells}")
    if row.weights != scheme_weights(rows):
        faults.append(f"its schemes weigh {scheme_weights(rows)}, it says {row.weights}")
    for what, listed, ids, known in (
        ("account", rows.accounts, row.ids.accounts, names.accounts),
        ("revision", rows.revisions, row.ids.revisions, names.revisions),
        ("segment", rows.segments, row.ids.segments, names.segments),
    ):
        if len(listed) != len(ids):
            faults.append(f"it has {len(listed)} {what}s and {len(ids)} ids of them")
            continue
        faults += [
            f"{what} {number} is {one} in it, and {known.get(number)} in the table"
            for one, number in zip(listed, ids, strict=True)
            if known.get(number) != one
        ]
    return faults
