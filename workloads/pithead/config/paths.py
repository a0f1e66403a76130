"""Answers for where a one-machine runtime keeps what its services need; makes nothing itself."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RuntimePaths:
    """Where a one-machine runtime keeps what its services need."""

    databases: Path
    """Folder of the SQLite files, one a service."""
    log: Path
    """Root of the share log."""
    node: Path
    """Folder of the built-in node."""
    run: Path
    """Folder of the unix sockets: short, as a socket's path holds 107 bytes."""

    def database(self, service: str) -> str:
        """SQLAlchemy URL of a service's own database."""
        return f"sqlite+aiosqlite:///{self.databases / service}.db"

    def socket(self, service: str) -> Path:
        """Unix socket of a service."""
        return self.run / f"{service}.sock"

    def edge_socket(self, pool_id: str, region: str) -> Path:
        """Unix socket of an edge: a hash, because a poolId alone may fill the path."""
        digest = hashlib.sha256(f"{pool_id}/{region}".encode()).hexdigest()[:16]
        return self.socket(f"stratum-{digest}")
