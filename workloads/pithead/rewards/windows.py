"""Share windows as the share processor answers them, checked and made into values.

The stream's first part carries the header; all parts carry columns of equal
length. What does not fit together is refused before any money is split over it.
"""

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass

from pithead.coins.params import ChainParams
from pithead.coins.weight import bits_to_target, expected_hashes
from pithead.contracts.accounting_pb2 import WindowHeader, WindowPart, WindowRequest
from pithead.rewards.database import BlockRow
from pithead.rewards.registry import Revision
from pithead.rewards.scheme import Split, Window, WindowCell, scheme_for
from pithead.rewards.splits import WindowFacts

CELLS_MAX = 1_000_000
"""Accounts in one window: ten times the largest pool we plan for."""


class WindowRefused(Exception):
    """Raised when an answer of the share processor is not a window."""


FetchWindow = Callable[[WindowRequest], AsyncIterable[WindowPart]]
"""How to ask: `AccountingStub.Window`, with a time limit set."""


@dataclass(frozen=True, slots=True)
class FetchedWindow:
    """A window with what the split keeps of it."""

    window: Window
    facts: WindowFacts
    sealed: bool


@dataclass(frozen=True, slots=True)
class Computed:
    """A split with the window it was computed over."""

    fetched: FetchedWindow
    split: Split


async def compute_split(
    fetch: FetchWindow,
    params: ChainParams,
    block: BlockRow,
    revision: Revision,
    carried: int = 0,
    *,
    archived: bool = False,
) -> Computed:
    """Fetch the window of a block and split its value by a revision's parameters.

    `archived` asks for the window out of the archive alone. The same call gives
    the same split at any time after the block's height is sealed. Raises
    WindowRefused, ConservedMoneyViolated or the transport's errors.
    """
    scheme = scheme_for(revision.method).bind(revision.parameters)
    weight = scheme.window_weight(expected_hashes(bits_to_target(block.bits)), params.shift)
    request = WindowRequest(
        pool=block.pool,
        scheme=revision.scheme,
        height=block.height,
        parent=block.parent,
        weight=str(weight),
        archived=archived,
    )
    fetched = await _read(fetch(request), weight)
    return Computed(fetched, scheme.split(block.value, carried, fetched.window))


async def _read(parts: AsyncIterable[WindowPart], weight: int) -> FetchedWindow:
    header: WindowHeader | None = None
    cells: list[WindowCell] = []
    async for part in parts:
        if header is None:
            if not part.HasField("header"):
                raise WindowRefused("the first part of a window has no header")
            header = part.header
        elif part.HasField("header"):
            raise WindowRefused("a later part of a window has a header")
        if not len(part.account) == len(part.full) == len(part.last):
            raise WindowRefused(
                f"columns of unequal length: {len(part.account)} accounts, "
                f"{len(part.full)} full and {len(part.last)} last weights"
            )
        cells.extend(
            WindowCell(account, int.from_bytes(full, "big"), int.from_bytes(last, "big"))
            for account, full, last in zip(part.account, part.full, part.last, strict=True)
        )
        if len(cells) > CELLS_MAX:
            raise WindowRefused(f"more than {CELLS_MAX} accounts in a window")
    if header is None:
        raise WindowRefused("an empty answer where a window was asked for")
    return _checked(header, cells, weight)


def _checked(header: WindowHeader, cells: list[WindowCell], weight: int) -> FetchedWindow:
    whole = int.from_bytes(header.group_weight, "big")
    needed = int.from_bytes(header.needed, "big")
    full = sum(cell.full for cell in cells)
    last = sum(cell.last for cell in cells)
    accounts = {cell.account for cell in cells}
    wrong = None
    if len(header.hash) != 32:
        wrong = f"its hash has {len(header.hash)} bytes"
    elif len(header.archive_hash) not in {0, 32}:
        wrong = f"the hash of its archive has {len(header.archive_hash)} bytes"
    elif len(accounts) != len(cells):
        wrong = "an account stands in it twice"
    elif needed > whole:
        wrong = f"it needs {needed} of a last group of {whole}"
    elif last != whole:
        wrong = f"the cells of its last group weigh {last}, its header says {whole}"
    elif header.filled != (full + needed >= weight) or (header.filled and full + needed > weight):
        wrong = f"it holds {full + needed} of {weight} and says filled={header.filled}"
    if wrong is not None:
        raise WindowRefused(f"the window of weight {weight} is refused: {wrong}")
    facts = WindowFacts(
        weight=weight,
        group_weight=whole,
        needed=needed,
        filled=header.filled,
        groups=header.groups,
        first_group=header.first_group,
        last_group=header.last_group,
        hash=header.hash,
        archive=header.archive_hash,
    )
    return FetchedWindow(Window(tuple(cells), whole, needed), facts, header.sealed)
