"""Keeps the devchain's state in one SQLite file: each step in one transaction, on disk before its
answer is given.

Write-ahead log with synchronous=FULL: a process killed at any moment loses nothing that it
answered. The index of headers and the coins at the tip are kept ready, so that a start reads them
and replays nothing; block bodies stay on disk. A lock file keeps a second process out.

It knows no rule: it keeps and gives back what it is told.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pithead.coins.tx import OutPoint
from pithead.config import SettingsError
from pithead.devchain.chain import Changes
from pithead.devchain.keys import OwnTx, WalletKey
from pithead.devchain.mempool import Waiting
from pithead.devchain.rules import Utxo

FORMAT = 1

_SCHEMA = """
create table meta (name text primary key, value blob not null) without rowid;
create table block (
    arrival integer primary key, hash blob not null unique, header blob not null,
    tx_count integer not null, size integer not null, invalid integer not null);
create table body (hash blob primary key, raw blob not null, undo blob);
create table coin (
    txid blob not null, idx integer not null, value integer not null, height integer not null,
    coinbase integer not null, script blob not null, primary key (txid, idx)) without rowid;
create table location (
    txid blob primary key, block blob not null, position integer not null) without rowid;
create table waiting (txid blob primary key, raw blob not null, time integer not null);
create table wallet (name text primary key) without rowid;
create table wallet_key (
    wallet text not null, address text not null, secret blob not null, label text,
    made integer not null, primary key (wallet, address)) without rowid;
create table wallet_tx (
    wallet text not null, txid blob not null, ord integer not null, raw blob not null,
    time integer not null, debit integer not null, fee integer,
    primary key (wallet, txid)) without rowid;
"""


@dataclass(slots=True)
class Step:
    """One step's changes, of the chain and of what follows it."""

    chain: Changes = field(default_factory=Changes)
    tip: bytes | None = None
    came: list[Waiting] = field(default_factory=list)
    went: list[bytes] = field(default_factory=list)
    """txids that left the mempool."""
    notes: list[tuple[str, OwnTx]] = field(default_factory=list)
    """Wallet name and what it remembers."""


class Store:
    """The file `chain.sqlite` of a data directory."""

    def __init__(self, data_dir: Path, *, bits: int, maturity: int) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(data_dir / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise SettingsError(
                f"{data_dir} is in use by another devchain; stop it or choose another directory"
            ) from error
        path = data_dir / "chain.sqlite"
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._open(path, {"format": FORMAT, "bits": bits, "maturity": maturity})
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, wanted: dict[str, int]) -> None:
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        if not self._db.execute("select 1 from sqlite_master where name = 'meta'").fetchone():
            self._db.executescript(f"begin; {_SCHEMA} commit;")
        # Apart from the schema, so that a process killed in between completes it.
        found = dict(self._db.execute("select name, value from meta"))
        for name, value in wanted.items():
            if name not in found:
                self._db.execute("insert into meta values (?, ?)", (name, value))
            elif found[name] != value:
                raise SettingsError(
                    f"{path}: the chain there has {name} {found[name]}, the settings say {value}; "
                    "use the same settings or another data directory"
                )

    def close(self) -> None:
        """Close the file and let go of the directory."""
        self._db.close()
        os.close(self._lock)

    def commit(self, step: Step) -> None:
        """Make one step durable, wholly or not at all."""
        chain = step.chain
        run, many = self._db.execute, self._db.executemany
        run("begin immediate")
        try:
            many(
                "insert into block values (?, ?, ?, ?, ?, ?) "
                "on conflict (hash) do update set invalid = excluded.invalid",
                [
                    (e.arrival, e.hash, e.header.serialize(), e.tx_count, e.size, e.invalid)
                    for e in chain.entries.values()
                ],
            )
            many("insert into body (hash, raw) values (?, ?)", chain.bodies.items())
            many("update body set undo = ? where hash = ?", _swapped(chain.undo.items()))
            many("delete from coin where txid = ? and idx = ?", _gone(chain.coins))
            many("insert or replace into coin values (?, ?, ?, ?, ?, ?)", _made(chain.coins))
            located = chain.located.items()
            many("delete from location where txid = ?", [(t,) for t, at in located if at is None])
            many(
                "insert or replace into location values (?, ?, ?)",
                [(t, *at) for t, at in located if at],
            )
            if step.tip is not None:
                run("insert or replace into meta values ('tip', ?)", (step.tip,))
            many("delete from waiting where txid = ?", [(txid,) for txid in step.went])
            many(
                "insert or ignore into waiting values (?, ?, ?)",
                [(waiting.txid, waiting.raw, waiting.time_s) for waiting in step.came],
            )
            many(
                "insert into wallet_tx values (?, ?, ?, ?, ?, ?, ?)",
                [(w, n.txid, n.order, n.raw, n.time_s, n.debit, n.fee) for w, n in step.notes],
            )
        except BaseException:
            run("rollback")
            raise
        run("commit")

    def add_wallet(self, name: str) -> None:
        """Keep an empty wallet."""
        self._db.execute("insert into wallet values (?)", (name,))

    def add_key(self, wallet: str, key: WalletKey) -> None:
        """Keep a key; afterwards its address may be handed out."""
        row = (wallet, key.address, key.key.secret, key.label, key.made_s)
        self._db.execute("insert into wallet_key values (?, ?, ?, ?, ?)", row)

    def tip(self) -> bytes | None:
        """Hash of the main chain's end; None in a new file."""
        row = self._db.execute("select value from meta where name = 'tip'").fetchone()
        return bytes(row[0]) if row else None

    def headers(self) -> Iterator[tuple[int, bytes, int, int, bool]]:
        """Arrival, header, number of transactions, size, invalid; parents before children."""
        rows = self._db.execute(
            "select arrival, header, tx_count, size, invalid from block order by arrival"
        )
        for arrival, header, tx_count, size, invalid in rows:
            yield arrival, header, tx_count, size, bool(invalid)

    def coins(self) -> Iterator[tuple[OutPoint, Utxo]]:
        """Unspent outputs at the tip."""
        rows = self._db.execute("select txid, idx, value, script, height, coinbase from coin")
        for txid, index, value, script, height, coinbase in rows:
            yield OutPoint(txid, index), Utxo(value, script, height, bool(coinbase))

    def waiting(self) -> list[tuple[bytes, int]]:
        """Bytes and time of the mempool's transactions, in order of coming."""
        return list(self._db.execute("select raw, time from waiting order by rowid"))

    def wallets(self) -> list[str]:
        """Names of all wallets."""
        return [row[0] for row in self._db.execute("select name from wallet")]

    def keys(self, wallet: str) -> list[tuple[str, bytes, str | None, int]]:
        """Address, secret, label and time of a wallet's keys."""
        return list(
            self._db.execute(
                "select address, secret, label, made from wallet_key where wallet = ?", (wallet,)
            )
        )

    def notes(self, wallet: str) -> list[tuple[bytes, bytes, int, int, int, int | None]]:
        """txid, bytes, time, order, debit and fee of a wallet's transactions, in order."""
        return list(
            self._db.execute(
                "select txid, raw, time, ord, debit, fee from wallet_tx "
                "where wallet = ? order by ord",
                (wallet,),
            )
        )

    def block(self, identity: bytes) -> bytes:
        """A block as on the wire; raises LookupError."""
        return self._blob("select raw from body where hash = ?", identity)

    def undo(self, identity: bytes) -> bytes:
        """What connecting a block spent; raises LookupError."""
        return self._blob("select undo from body where hash = ?", identity)

    def located(self, txid: bytes) -> tuple[bytes, int] | None:
        """Block and position of a transaction in the main chain."""
        row = self._db.execute(
            "select block, position from location where txid = ?", (txid,)
        ).fetchone()
        return (row[0], row[1]) if row else None

    def _blob(self, query: str, identity: bytes) -> bytes:
        row = self._db.execute(query, (identity,)).fetchone()
        if row is None or row[0] is None:
            raise LookupError(f"block {identity[::-1].hex()} is not stored")
        return bytes(row[0])


def _swapped(items: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(value, key) for key, value in items]


def _gone(coins: dict[OutPoint, Utxo | None]) -> list[tuple[bytes, int]]:
    return [(point.txid, point.index) for point, coin in coins.items() if coin is None]


def _made(coins: dict[OutPoint, Utxo | None]) -> list[tuple[bytes, int, int, int, bool, bytes]]:
    return [
        (point.txid, point.index, coin.value, coin.height, coin.coinbase, coin.script)
        for point, coin in coins.items()
        if coin is not None
    ]
