"""Shows a running pool: a live page in a terminal, plain lines without one."""

import asyncio
import datetime
from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pithead.contracts import ledger_pb2, payouts_pb2, rewards_pb2
from pithead.status import Collector, PoolSnapshot
from pithead.up.events import Teller, amount_text, rate_text, short

REFRESH_S = 1.0
EVENTS_SHOWN = 8
BLOCKS_SHOWN = 6

BLOCK_STATES = {
    rewards_pb2.BLOCK_CANDIDATE: ("candidate", "yellow"),
    rewards_pb2.BLOCK_CONFIRMED: ("maturing", "cyan"),
    rewards_pb2.BLOCK_MATURE: ("mature", "green"),
    rewards_pb2.BLOCK_ORPHANED: ("orphaned", "red"),
}
PAYOUT_STATES = {
    payouts_pb2.PAYOUT_PLANNED: ("planned", "yellow"),
    payouts_pb2.PAYOUT_HELD: ("held", "yellow"),
    payouts_pb2.PAYOUT_SIGNED: ("signed", "cyan"),
    payouts_pb2.PAYOUT_BROADCAST: ("sent", "cyan"),
    payouts_pb2.PAYOUT_BURIED: ("confirmed", "green"),
    payouts_pb2.PAYOUT_RELEASED: ("released", "red"),
}


class View:
    """Follows the services until cancelled; also a place for sentences of the runtime itself."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tellers: dict[str, Teller] = {}
        self._events: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._live: Live | None = None

    def say(self, sentence: str) -> None:
        """Print a sentence, or add it to the page's events."""
        stamp = datetime.datetime.now(tz=datetime.UTC).astimezone().strftime("%H:%M:%S")
        self._events.append(f"{stamp}  {sentence}")
        if self._live is None:
            self._console.print(f"{stamp}  {sentence}", highlight=False, soft_wrap=True)

    async def follow(self, collector: Collector) -> None:
        """Refresh until cancelled."""
        if not self._console.is_terminal:
            while True:
                self._tell(await collector.collect())
                await asyncio.sleep(REFRESH_S)
        with Live(
            Text("starting"), console=self._console, auto_refresh=False, screen=False
        ) as live:
            self._live = live
            try:
                while True:
                    pools = await collector.collect()
                    self._tell(pools)
                    live.update(self._page(pools), refresh=True)
                    await asyncio.sleep(REFRESH_S)
            finally:
                self._live = None

    def _tell(self, pools: list[PoolSnapshot]) -> None:
        for pool in pools:
            teller = self._tellers.setdefault(pool.runtime.pool, Teller())
            for sentence in teller.tell(pool):
                prefix = f"{pool.runtime.name}: " if len(pools) > 1 else ""
                self.say(prefix + sentence)

    def _page(self, pools: list[PoolSnapshot]) -> RenderableType:
        parts: list[RenderableType] = [pool_panel(pool) for pool in pools]
        events = Text("\n".join(self._events), no_wrap=True, overflow="ellipsis")
        parts.append(Panel(events, title="events", title_align="left", border_style="dim"))
        parts.append(Text("Ctrl-C stops the pool; a second start goes on where it stopped.", "dim"))
        return Group(*parts)


def pool_panel(pool: PoolSnapshot) -> Panel:
    """Draw one pool."""
    rows: list[RenderableType] = [_figures(pool)]
    rows += [Text(f"! {trouble}", style="bold red") for trouble in pool.troubles]
    rows += [Text(), _miners(pool), Text(), _blocks(pool), Text(), _payouts(pool)]
    state = Text("ready", "bold green") if pool.ready else Text("starting", "bold yellow")
    title = Text.assemble(
        (pool.runtime.name, "bold"), "  ", (pool.runtime.coin, "dim"), "  ", state
    )
    return Panel(Group(*rows), title=title, title_align="left", border_style="blue")


def _coins(pool: PoolSnapshot, amount: int) -> str:
    return amount_text(amount, pool.runtime.decimals, pool.runtime.symbol)


def _figures(pool: PoolSnapshot) -> Table:
    counters = pool.counters
    live = [region.status for region in pool.regions if region.status is not None]
    table = Table.grid(padding=(0, 3))
    ports = ", ".join(f"{each.host}:{each.port}" for each in pool.runtime.listeners)
    table.add_row(
        Text.assemble(("miners connect to ", "dim"), ports),
        Text.assemble(("connections ", "dim"), str(sum(s.connections for s in live))),
        Text.assemble(("hashrate ", "dim"), rate_text(sum(s.hashrate for s in live))),
        Text.assemble(("height ", "dim"), str(pool.blocks.tip_height if pool.blocks else "-")),
    )
    if counters is not None:
        charts = f"{pool.charts.lag_ms / 1000:.0f} s behind" if pool.charts is not None else "off"
        table.add_row(
            Text.assemble(("shares accepted ", "dim"), (f"{counters.accepted:,}", "bold green")),
            Text.assemble(("stale ", "dim"), f"{counters.stale:,}"),
            Text.assemble(("duplicate ", "dim"), f"{counters.duplicate:,}"),
            Text.assemble(("low ", "dim"), f"{counters.low:,}"),
        )
        table.add_row(Text.assemble(("charts ", "dim"), charts))
    payouts = pool.payouts or payouts_pb2.ListReply(amount="0")
    table.add_row(
        Text.assemble(("maturing ", "dim"), _coins(pool, pool.balance(ledger_pb2.BOOK_IMMATURE))),
        Text.assemble(("payable ", "dim"), _coins(pool, pool.balance(ledger_pb2.BOOK_PAYABLE))),
        Text.assemble(("paid ", "dim"), (_coins(pool, int(payouts.amount or "0")), "bold green")),
        Text.assemble(("payments ", "dim"), str(payouts.confirmed)),
    )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2))
    for column in columns:
        right = column in {"height", "value", "shares", "amount", "hashrate", "credit", "part"}
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    return table


def _miners(pool: PoolSnapshot) -> RenderableType:
    if pool.counters is None or not pool.counters.accounts:
        return Text("no shares yet: point a miner at the address above", "dim")
    credits = {s.account: s.amount for s in pool.split.shares} if pool.split is not None else {}
    height = pool.split_block.height if pool.split_block is not None else None
    table = _table("miner", "shares", "part", "credit")
    table.columns[3].header = f"credit of block {height}" if height is not None else "credit"
    total = sum(int(account.weight) for account in pool.counters.accounts)
    strongest = sorted(pool.counters.accounts, key=lambda a: -int(a.weight))
    for account in strongest[:6]:
        part = int(account.weight) * 1000 // total if total else 0
        amount = credits.get(account.account)
        table.add_row(
            short(account.login),
            f"{account.shares:,}",
            f"{part // 10}.{part % 10} %",
            _coins(pool, amount) if amount is not None else "-",
        )
    return table


def _blocks(pool: PoolSnapshot) -> RenderableType:
    if pool.blocks is None or not pool.blocks.blocks:
        return Text("no block yet", "dim")
    table = _table("height", "block", "state", "value", "found by")
    for block in pool.blocks.blocks[:BLOCKS_SHOWN]:
        name, style = BLOCK_STATES.get(block.state, ("?", "red"))
        if block.state == rewards_pb2.BLOCK_CONFIRMED:
            name = f"{name}, {block.confirmations} deep"
        table.add_row(
            str(block.height),
            block.hash[::-1].hex()[:20] + "…",
            Text(name, style),
            _coins(pool, block.value),
            short(block.finder) or "-",
        )
    return table


def _payouts(pool: PoolSnapshot) -> RenderableType:
    if pool.payouts is None or not pool.payouts.payouts:
        return Text("no payout yet", "dim")
    table = _table("payout", "state", "amount", "to")
    for payout in pool.payouts.payouts[:3]:
        name, style = PAYOUT_STATES.get(payout.state, ("?", "red"))
        if payout.confirmations:
            name = f"{name}, {payout.confirmations} deep"
        table.add_row(
            payout.txid[:20] + "…" if payout.txid else payout.id[:20],
            Text(name, style),
            _coins(pool, payout.amount),
            f"{len(payout.payments)} miners",
        )
    return table
