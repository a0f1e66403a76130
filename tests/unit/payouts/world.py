"""A whole small world for the engine: real databases and book, a scripted chain, a killer.

`Killer` counts the borders of steps: before and after every call that the engine
makes to the outside (rows, book, accounts, wallet). At the chosen one it raises
`Killed`, which nothing in the engine catches, as a SIGKILL would end it there; the
test then starts a new engine over the same databases and the same chain.
"""

import functools
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.wallet import SignedTx
from pithead.config import CoinSettings, NodeSettings, PayoutPolicy, WalletSettings
from pithead.contracts import ledger_pb2
from pithead.ledger.book import Book, BookKind, BookOverdrawn, Entry, LedgerError, Leg
from pithead.ledger.posting import Ledger
from pithead.ledger.verify import verify
from pithead.ledger.wire import entry_of
from pithead.payouts.engine import Engine, Outcome
from pithead.payouts.errors import BookConflict, BookRefused
from pithead.payouts.plan import Account
from pithead.payouts.rows import Rows
from pithead.store import open_store
from tests.support.databases import DATABASES
from tests.unit.payouts.scripted import PARAMS, ScriptedChain, ScriptedWallet, payee_script

COIN = "devchain/regtest"
DEPTH = 2
FEE_RATE = 10


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Ends the engine at one border, counted from the start."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0
        self.names: list[str] = []

    def border(self, name: str) -> None:
        if self.count == self.at:
            self.at = None
            raise Killed(name)
        self.count += 1
        self.names.append(name)

    def wrap(self, target: Any) -> Any:
        return _Watched(target, self)


class _Watched:
    def __init__(self, target: Any, killer: Killer) -> None:
        self._target = target
        self._killer = killer

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        label = f"{type(self._target).__name__}.{name}"

        @functools.wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._killer.border(f"before {label}")
            result = await method(*args, **kwargs)
            self._killer.border(f"after {label}")
            return result

        return call


class LocalBook:
    """The real ledger without its socket."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.away: Exception | None = None

    async def post(self, entry: ledger_pb2.Entry) -> None:
        if self.away is not None:
            raise self.away
        try:
            await self.ledger.post(entry_of(entry), 1)
        except BookOverdrawn as error:
            raise BookRefused(str(error)) from error
        except LedgerError as error:
            raise BookConflict(str(error)) from error

    async def balances(
        self, coin: str, kind: "ledger_pb2.BookKind.ValueType", at_least: int
    ) -> Mapping[int, int]:
        found = await self.ledger.balances(coin, kinds=[BookKind(kind)], at_least=at_least)
        return {int(book.owner): amount for book, amount in found}

    async def has(self, coin: str, *, kind: str = "", entry_id: str = "") -> bool:
        async for _ in self.ledger.entries(coin, kind=kind, entry_id=entry_id):
            return True
        return False


class LocalAccounts:
    """Accounts by id, with scripts that a test can spoil."""

    def __init__(self) -> None:
        self.scripts: dict[int, bytes] = {}
        self.unknown: set[int] = set()

    def script(self, number: int) -> bytes:
        return self.scripts.get(number, payee_script(number))

    async def accounts(self, ids: Iterable[int]) -> Mapping[int, Account]:
        return {
            number: Account(
                number, f"login-{number}", self.scripts.get(number, payee_script(number))
            )
            for number in ids
            if number not in self.unknown
        }


class World:
    """Everything that outlives the engine's process."""

    def __init__(self, payouts: AsyncEngine, ledger: AsyncEngine) -> None:
        self.payouts = payouts
        self.ledger_engine = ledger
        self.ledger = Ledger(ledger)
        self.book = LocalBook(self.ledger)
        self.accounts = LocalAccounts()
        self.chain = ScriptedChain()
        self.wallet = ScriptedWallet(self.chain)
        self.rows = Rows(payouts)
        self.now_ms = 1_000_000
        self.fee_rate = FEE_RATE
        self.depth = DEPTH
        self.paused = False
        self.payments_max = 500
        self.threshold = 1000
        self.credited: dict[int, int] = {}
        self.funded = 0
        self._credits = 0

    def engine(self, killer: Killer | None = None) -> Engine:
        killer = killer or Killer()
        coin = CoinSettings(
            name="dvc",
            coin="devchain",
            network="regtest",
            nodes=(NodeSettings(name="n", url="http://x", user="u", password="p"),),
            wallet=WalletSettings(name="pool"),
            confirmations=self.depth,
        )
        policy = PayoutPolicy(
            coin="dvc",
            interval_s=60,
            threshold=self.threshold,
            paused=self.paused,
            payments_max=self.payments_max,
            fee_rate=self.fee_rate,
            fee_book="pool-1",
        )
        return Engine(
            coin,
            policy,
            PARAMS,
            rows=killer.wrap(self.rows),
            wallet=killer.wrap(self.wallet),
            book=killer.wrap(self.book),
            accounts=killer.wrap(self.accounts),
            now_ms=lambda: self.now_ms,
        )

    async def credit(
        self, amounts: Mapping[int, int], *, coins: int = 1, fee: int = 100_000
    ) -> None:
        """A matured block: coins in the wallet, credits and the pool's fee in the ledger."""
        self._credits += 1
        total = sum(amounts.values()) + fee
        parts = [total // coins] * (coins - 1)
        for part in (*parts, total - sum(parts)):
            self.chain.fund(self.wallet.scripts[0], part)
        legs = [Leg(Book(BookKind.PAYABLE, str(a)), amount) for a, amount in amounts.items()]
        legs += [Leg(Book(BookKind.CHAIN, ""), -total), Leg(Book(BookKind.FEE, "pool-1"), fee)]
        legs = [leg for leg in legs if leg.amount]
        await self.ledger.post(Entry(f"split/{self._credits}", COIN, "split", tuple(legs)), 1)
        self.funded += total
        for account, amount in amounts.items():
            self.credited[account] = self.credited.get(account, 0) + amount

    def spend_behind_the_back(self, signed: SignedTx) -> None:
        """What an operator's hand at the wallet can do between signing and sending."""
        # At a fee that no payout of these tests can replace.
        self.wallet.foreign_spend(signed.inputs[0], payee_script(77), fee=20_000)

    async def tick(self, engine: Engine, *, now: bool = False) -> Outcome:
        """A cycle, a block, and a minute."""
        outcome = await engine.run(now=now)
        if "pithead payouts adopt" in outcome.text:
            await engine.adopt(outcome.text.split("pithead payouts adopt ")[1][:64], "a test")
        self.chain.mine()
        self.now_ms += 61_000
        return outcome

    async def settle(self, engine: Engine, ticks: int = 40) -> None:
        """Cycle until nothing is under way and nobody is due."""
        for _ in range(ticks):
            outcome = await self.tick(engine)
            if outcome.text == "nobody is due":
                return
        raise AssertionError(f"did not converge: {outcome}")

    async def total(self, kind: BookKind) -> int:
        return sum(balance.amount for balance in await self.ledger.balances(COIN, kinds=[kind]))

    def paid(self, account: int) -> int:
        return self.chain.received(self.accounts.scripts.get(account, payee_script(account)))

    async def check_nobody_is_paid_twice(self) -> None:
        for account, credited in self.credited.items():
            assert self.paid(account) <= credited, f"account {account} was paid too much"

    async def check_books(self, *, lost: int = 0) -> None:
        """The ledger agrees with the chain to the unit; `lost` left by foreign spends."""
        assert await verify(self.ledger_engine) == []
        assert await self.total(BookKind.HOLD) == 0
        for balance in await self.ledger.balances(COIN, kinds=[BookKind.PAID]):
            if balance.book.owner:
                assert balance.amount == self.paid(int(balance.book.owner)), balance
        in_wallet = sum(out.value for out in self.wallet.coins().values())
        spent = await self.total(BookKind.PAID) + await self.total(BookKind.NETWORK_FEE)
        assert self.funded - spent == in_wallet

    async def check_all_paid(self, accounts: Iterable[int] | None = None) -> None:
        for account in accounts if accounts is not None else self.credited:
            assert self.paid(account) == self.credited[account], account


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    """A new world, whose databases are those of `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    engines = [
        open_store(await DATABASES.migrated(directory, service))
        for service in ("payouts", "ledger")
    ]
    try:
        yield World(engines[0], engines[1])
    finally:
        for engine in engines:
            await engine.dispose()
