"""One connected miner: its protocol, its session, its conduct, and its way out."""

from collections.abc import Callable
from typing import Protocol

from pithead.config import ListenerSettings
from pithead.stratum.bans import Conduct
from pithead.stratum.login import Login
from pithead.stratum.protocol import ServerProtocol
from pithead.stratum.session import Session


class Port(Protocol):
    """The transport beneath a miner."""

    def write(self, data: bytes) -> None:
        """Queue bytes for sending; does nothing once closed."""

    def close(self) -> None:
        """Send what is queued, then close."""

    def abort(self) -> None:
        """Close at once."""


LoginDurable = Callable[["Miner", str, Login, bytes, bool], None]


class Miner:
    """State of one connection. Its methods are what batches call back."""

    __slots__ = (
        "_login_durable",
        "_port",
        "address",
        "agent",
        "asked_ms",
        "conduct",
        "connected_ms",
        "gone",
        "hashing",
        "heard_ms",
        "listener",
        "protocol",
        "refused_logins",
        "session",
        "shown_transactions",
    )

    def __init__(
        self,
        port: Port,
        address: str,
        listener: ListenerSettings,
        protocol: ServerProtocol,
        session: Session,
        now_ms: int,
        login_durable: LoginDurable,
    ) -> None:
        self.address = address
        self.listener = listener
        self.protocol = protocol
        self.session = session
        self.conduct = Conduct()
        self.agent = ""
        self.asked_ms = 0
        """When it was last asked to reconnect, 0 for never."""
        self.connected_ms = now_ms
        self.heard_ms = now_ms
        self.gone = False
        self.hashing = 0
        """Shares that wait for a thread to hash them."""
        self.refused_logins = 0
        self.shown_transactions = ""
        """Job whose transactions were sent last."""
        self._port = port
        self._login_durable = login_durable

    def write(self, data: bytes) -> None:
        """Send bytes; nothing happens when the connection is gone."""
        if data and not self.gone:
            self._port.write(data)

    def close(self) -> None:
        """Send what is queued, then close."""
        self.gone = True
        self._port.close()

    def abort(self) -> None:
        """Close at once."""
        self.gone = True
        self._port.abort()

    def login_durable(self, user: str, login: Login, request_id: bytes, *, durable: bool) -> None:
        """Hear from the batcher whether a login's session record is in the log."""
        self._login_durable(self, user, login, request_id, durable)
