"""Answers for what an API server may answer, as one class for each thing that we can do about it.

    ClusterError
        Unreachable      no answer, or none that came from an API server: wait
        Unauthorized     401: another credential
        Forbidden        403: a role is missing
        NotFound         404
        Conflict         409: read again
        Expired          410: list again
        Busy             429 and 5xx: try again later
        Refused          other 4xx: nothing but another object helps

Foreign text is cut and made one line: it may hold anything.
"""

FOREIGN_LENGTH_MAX = 256


class ClusterError(Exception):
    """Raised when a request did not do what it should; says which, and what was answered."""

    reason = "RequestFailed"

    def __init__(self, cluster: str, request: str, answer: str) -> None:
        where = f"cluster {cluster}" if cluster else "the hub's cluster"
        short = answer[:FOREIGN_LENGTH_MAX]
        self.cluster = cluster
        self.request = request
        self.answer = "".join(each if each.isprintable() else " " for each in short)
        super().__init__(f"{where}: {request}: {self.answer}")


class Unreachable(ClusterError):
    """Raised when no API server answered."""

    reason = "Unreachable"


class Unauthorized(ClusterError):
    """Raised when the credential is not known there, or has expired."""

    reason = "Unauthorized"


class Forbidden(ClusterError):
    """Raised when the credential is known and a role is missing."""

    reason = "Forbidden"


class NotFound(ClusterError):
    """Raised when the object, its namespace or its kind is not there."""

    reason = "NotFound"


class Conflict(ClusterError):
    """Raised when the object changed meanwhile, or another stands in its place."""

    reason = "Conflict"


class Expired(ClusterError):
    """Raised when a watch asks for versions that are gone."""

    reason = "Expired"


class Busy(ClusterError):
    """Raised when the API server can not answer now."""

    reason = "Busy"


class Refused(ClusterError):
    """Raised when the API server does not take the object as it is."""

    reason = "Refused"


BY_STATUS: dict[int, type[ClusterError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    429: Busy,
}


def error_of(status: int) -> type[ClusterError]:
    """The class for an HTTP status that is no success."""
    return BY_STATUS.get(status, Busy if status >= 500 else Refused)
