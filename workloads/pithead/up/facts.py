"""What services told at an earlier start, so that the next start need not wait for them.

The address of a wallet and the slots of schemes never change for the same
manifests. With both at hand all services start at once instead of one after the
other, and edges accept shares even while a node or wallet is away. The
services are still asked, and a different answer ends the run.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pithead.config import SlotSettings, from_json, to_json
from pithead.config.one_machine import Hub


class Facts(msgspec.Struct, frozen=True):
    """Answers of payouts and rewards."""

    asked: str
    """Digest of the settings for which these were the answers."""
    scripts: Mapping[str, str]
    """Hex script that coinbases pay, by CoinEndpoint name."""
    slots: Mapping[str, tuple[SlotSettings, ...]]
    """By poolId."""

    @property
    def script_bytes(self) -> dict[str, bytes]:
        """The scripts as bytes."""
        return {name: bytes.fromhex(script) for name, script in self.scripts.items()}


def digest(hub: Hub) -> str:
    """Digest of all that the answers depend on: wallets, nodes, pools and their schemes."""
    registrations = msgspec.json.encode(hub.registrations)
    return hashlib.sha256(to_json(hub.payouts) + registrations).hexdigest()


def load(path: Path, asked: str) -> Facts | None:
    """Read the facts that hold for `asked`; None when there are none, or only for others."""
    try:
        facts = from_json(path.read_bytes(), Facts)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return facts if facts.asked == asked else None


def store(path: Path, facts: Facts) -> None:
    """Replace the stored facts at once."""
    scratch = path.with_suffix(".new")
    with scratch.open("wb") as file:
        file.write(to_json(facts))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
