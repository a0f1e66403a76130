"""Ways in which a database refuses a service; each says what to do.

StoreError
+-- StoreUnreachable    cannot be opened or asked
+-- StoreRefused        answers, and refuses what an administrator asks
+-- StoreTooNew         written by a newer Pithead
+-- StoreTooOld         not upgraded yet
"""

from sqlalchemy.engine import make_url


def store_name(url: str) -> str:
    """Name a database for people: the file of SQLite, else the URL without its password."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.database or ":memory:"
    return parsed.render_as_string(hide_password=True)


def _is_file(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


class StoreError(Exception):
    """Base of what this package raises."""


class StoreUnreachable(StoreError):
    """Raised when a database cannot be opened."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        remedy = (
            "check that its directory exists, is writable and has free space"
            if _is_file(url)
            else "check host, port, user and password, and that the server runs"
        )
        super().__init__(f"database {store_name(url)} cannot be opened ({reason}): {remedy}")


class StoreRefused(StoreError):
    """Raised when the server refuses to make roles or schemas."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"database {store_name(url)} refuses ({reason}): the administrator must be a "
            "superuser, or be allowed to create roles and to create in this database"
        )


class StoreTooNew(StoreError):
    """Raised when a database carries a revision that this code does not know."""

    def __init__(self, url: str, found: str, newest: str) -> None:
        self.url = url
        self.found = found
        self.newest = newest
        instead = "point --data at another directory" if _is_file(url) else "use another database"
        super().__init__(
            f"database {store_name(url)} is of revision {found}, newer than this Pithead knows "
            f"({newest}): upgrade pithead, or {instead}; nothing was changed"
        )


class StoreTooOld(StoreError):
    """Raised when a service meets a database that was not upgraded for it."""

    def __init__(self, url: str, found: str | None, expected: str) -> None:
        self.url = url
        self.found = found
        self.expected = expected
        was = f"is of revision {found}" if found else "was never set up"
        remedy = (
            "start it through `pithead up`, which upgrades databases first"
            if _is_file(url)
            else "run `pithead wire databases`, which upgrades it"
        )
        super().__init__(
            f"database {store_name(url)} {was}, this service needs {expected}: {remedy}"
        )
