"""What may be asked: requests of the contract checked and made into values. Pure.

A slip of the caller is an `AskedWrong` with one sentence; whether a pool, account or
worker of that name exists is not known here.
"""

from dataclasses import dataclass
from typing import Final

from pithead.contracts import analytics_pb2 as contract
from pithead.shares.analytics.queries.spans import DAY, HOUR, MONTH, WEEK, Span
from pithead.shares.analytics.queries.tables import Sort

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
TOP_DEFAULT: Final = 10
TOP_MAX: Final = 100
ROUNDS_DEFAULT: Final = 50
ROUNDS_MAX: Final = 500
NAME_CHARS_MAX: Final = 256
"""Edges cut worker names far below; logins are addresses."""

SPANS: Final = {
    contract.SPAN_1H: HOUR,
    contract.SPAN_24H: DAY,
    contract.SPAN_7D: WEEK,
    contract.SPAN_30D: MONTH,
}
GROUPS: Final = {
    contract.BY_NOTHING: None,
    contract.BY_REGION: "region",
    contract.BY_SCHEME: "slot",
}


class AskedWrong(ValueError):
    """Raised when a request makes no sense, whatever there is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A subject by the names that the caller gave."""

    pool: str
    account: int | None
    login: str | None
    worker: str | None

    @property
    def has_owner(self) -> bool:
        """Whether an account is named, by id or login."""
        return self.account is not None or self.login is not None


def subject(given: contract.Subject) -> Asked:
    """Any subject."""
    pool = _text("subject.pool", given.pool)
    if not pool:
        raise AskedWrong("subject.pool: expected a poolId, got nothing")
    owner = given.WhichOneof("owner")
    if owner == "login" and not given.login:
        raise AskedWrong("subject.login: expected an address, got nothing")
    worker = _text("subject.worker", given.worker) if given.HasField("worker") else None
    if worker is not None and owner is None:
        raise AskedWrong("subject.worker: a worker is one of an account; give that too")
    return Asked(
        pool=pool,
        account=given.account if owner == "account" else None,
        login=_text("subject.login", given.login) if owner == "login" else None,
        worker=worker,
    )


def without_worker(given: contract.Subject) -> Asked:
    """A pool or an account."""
    asked = subject(given)
    if asked.worker is not None:
        raise AskedWrong("subject.worker: expected a pool or an account, got a worker")
    return asked


def only_account(given: contract.Subject) -> Asked:
    """An account."""
    asked = without_worker(given)
    if not asked.has_owner:
        raise AskedWrong("subject: expected an account, by id or login, got a pool")
    return asked


def span(given: "contract.Span.ValueType") -> Span:
    """A span; there is no default, as any would be wrong for most."""
    found = SPANS.get(given)
    if found is None:
        raise AskedWrong(f"span: expected one of {', '.join(_span_names())}, got {given}")
    return found


def group(given: "contract.By.ValueType", *, needed: bool = False) -> str | None:
    """The column by which an answer is cut; None for one that is not."""
    if given not in GROUPS or (needed and GROUPS[given] is None):
        raise AskedWrong(f"by: expected BY_REGION or BY_SCHEME, got {given}")
    return GROUPS[given]


def slot(given: int | None) -> int | None:
    """A scheme slot, which is one byte."""
    if given is not None and given > 255:
        raise AskedWrong(f"slot: expected 0 to 255, got {given}")
    return given


def region(given: str | None) -> str | None:
    """A region's id."""
    return None if given is None else _text("region", given)


def limit(name: str, given: int, default: int, most: int) -> int:
    """How many; 0 is the default, and more than the bound is refused rather than cut."""
    if given > most:
        raise AskedWrong(f"{name}: expected at most {most}, got {given}")
    return given or default


@dataclass(frozen=True, slots=True)
class PageAsked:
    """Which rows of a worker table."""

    search: str
    state: int
    sort: Sort
    descending: bool
    offset: int
    limit: int


def page(given: contract.WorkersRequest) -> PageAsked:
    """A page of a worker table."""
    if int(given.sort) not in list(Sort):
        raise AskedWrong(f"sort: expected 0 to {max(Sort)}, got {given.sort}")
    if given.state not in contract.WorkerState.values():
        raise AskedWrong(f"state: expected 0 to 3, got {given.state}")
    return PageAsked(
        search=_text("search", given.search),
        state=int(given.state),
        sort=Sort(given.sort),
        descending=given.descending,
        offset=given.offset,
        limit=limit("limit", given.limit, PAGE_DEFAULT, PAGE_MAX),
    )


def pool(given: str) -> str:
    """A poolId."""
    return subject(contract.Subject(pool=given)).pool


def _text(name: str, given: str) -> str:
    if len(given) > NAME_CHARS_MAX:
        raise AskedWrong(f"{name}: expected at most {NAME_CHARS_MAX} characters, got {len(given)}")
    return given


def _span_names() -> list[str]:
    return [contract.Span.Name(number) for number in SPANS]
