"""Why an edge can not serve as configured: each one sentence with its remedy."""

from pathlib import Path

from pithead.config import Unusable


class EdgeError(Unusable):
    """Base of all; a process that raises it is not started again as it is."""


class PortUnusable(EdgeError):
    """Raised when a listener's port is taken or may not be opened."""

    def __init__(self, listener: str, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"listener {listener}: can not open {host}:{port}: {reason}; "
            "stop the program that holds the port, or give this listener another one"
        )
        self.listener = listener
        self.host = host
        self.port = port
        self.reason = reason


class TlsUnusable(EdgeError):
    """Raised when a listener's certificate and key can not be used."""

    def __init__(self, listener: str, certificate: Path, key: Path, reason: str) -> None:
        super().__init__(
            f"listener {listener}: {certificate} and {key} are no usable pair: {reason}; "
            "both must be PEM, the key belong to the first certificate and have no password"
        )
        self.listener = listener
        self.certificate = certificate
        self.key = key
        self.reason = reason


class PayoutScriptUnusable(EdgeError):
    """Raised when the script that coinbases pay is no hex, or empty."""

    def __init__(self, script: str) -> None:
        super().__init__(
            f"payout_script: {script[:80]!r} is not a script in hex; "
            "take the one that the wallet's receive address has"
        )
        self.script = script


class CoinUnusable(EdgeError):
    """Raised when the coin or network is not one that this program knows."""
