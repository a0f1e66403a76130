"""Process configuration: frozen groups that each service reads once from its JSON file.

The runtime (one machine or cluster) renders these from manifests; services see
nothing else of the outside: no environment, no manifest. Unknown or half-given
keys are refused with their path. Secrets stand in files that settings name.
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all groups: frozen, and strict about unknown keys."""


class NodeSettings(Settings, frozen=True, kw_only=True):
    """One coin node that a process may dial."""

    name: str
    url: str
    """JSON-RPC address, `http://host:port`."""
    user: str
    password: str
    """Read by the runtime from the Secret that the CoinEndpoint names; the file is 0600."""
    standby: bool = False


class WalletSettings(Settings, frozen=True, kw_only=True):
    """The wallet that coinbases pay and payouts spend."""

    kind: str = "node"
    """`node`: a wallet inside the coin node, reached by its RPC."""
    name: str = "pool"


class CoinSettings(Settings, frozen=True, kw_only=True):
    """One CoinEndpoint as services see it."""

    name: str
    """CoinEndpoint name."""
    coin: str
    """Coin family member: `litecoin`, `bitcoin`, `devchain`."""
    network: str
    """`mainnet`, `testnet` or `regtest`."""
    nodes: tuple[NodeSettings, ...]
    wallet: WalletSettings = WalletSettings()
    confirmations: int = 6
    """Depth at which a payout is buried and at which an orphan is believed."""
    poll_interval_ms: int = 500
    """How often a node's tip is polled beneath the long poll."""

    @property
    def key(self) -> str:
        """Name of the chain in records and books: `<coin>/<network>`."""
        return f"{self.coin}/{self.network}"


class SlotSettings(Settings, frozen=True, kw_only=True):
    """A scheme revision behind a slot of extranonce1, from a height on."""

    slot: int
    scheme: str
    revision: str
    effective_height: int


class ListenerSettings(Settings, frozen=True, kw_only=True):
    """One stratum port."""

    name: str
    host: str = "0.0.0.0"  # noqa: S104 - miners connect from anywhere
    port: int
    slot: int
    start_weight: int
    """Weight of a new connection's shares: expected hashes >> shift of the coin."""
    min_weight: int
    max_weight: int


class VardiffSettings(Settings, frozen=True, kw_only=True):
    """How fast a connection should send shares."""

    share_interval_ms: int = 5000
    retarget_interval_ms: int = 60000
    variance_percent: int = 40


class LimitSettings(Settings, frozen=True, kw_only=True):
    """Bounds that keep one miner from harming others."""

    connections_max: int = 20000
    line_bytes_max: int = 8192
    subscribe_timeout_ms: int = 15000
    """Time in which a connection must have subscribed and authorized."""
    idle_timeout_ms: int = 900_000
    garbage_lines_max: int = 3
    """Unparseable lines after which a connection is closed."""
    invalid_percent: int = 50
    """Share of invalid submits, of the last `invalid_window`, that bans an address."""
    invalid_window: int = 200
    ban_ms: int = 600_000


class StratumSettings(Settings, frozen=True, kw_only=True):
    """One edge process."""

    pool: str
    """poolId."""
    region: str
    coin: CoinSettings
    payout_script: str
    """Hex script that every coinbase pays."""
    listeners: tuple[ListenerSettings, ...]
    slots: tuple[SlotSettings, ...]
    vardiff: VardiffSettings = VardiffSettings()
    limits: LimitSettings = LimitSettings()
    log_dir: Path
    """Root of the FileLog."""
    partition: str
    """The partition of shares and blocks that this process owns."""
    socket: Path
    batch_shares_max: int = 512
    batch_delay_ms: int = 3


class PoolSettings(Settings, frozen=True, kw_only=True):
    """What hub services know of one pool."""

    pool: str
    name: str
    coin: str
    """CoinEndpoint name."""
    regions: tuple[str, ...]
    payout_script: str = ""
    """Hex; needed by rewards to see the pool's outputs in a coinbase."""
    slots: tuple[SlotSettings, ...] = ()


class SharesSettings(Settings, frozen=True, kw_only=True):
    """The share processor."""

    database: str
    """SQLAlchemy URL."""
    socket: Path
    log_dir: Path
    pools: tuple[PoolSettings, ...]
    coins: tuple[CoinSettings, ...]


class RewardsSettings(Settings, frozen=True, kw_only=True):
    """Blocks, schemes and splits. Slots are rewards' own and empty in its pools."""

    database: str
    socket: Path
    log_dir: Path
    pools: tuple[PoolSettings, ...]
    coins: tuple[CoinSettings, ...]
    shares_socket: Path
    ledger_socket: Path
    notice_blocks: int = 6
    """Blocks between the tip and the height from which a changed revision counts."""


class LedgerSettings(Settings, frozen=True, kw_only=True):
    """The double-entry book."""

    database: str
    socket: Path


class PayoutPolicy(Settings, frozen=True, kw_only=True):
    """When and what a coin's wallet pays. One policy per CoinEndpoint."""

    coin: str
    """CoinEndpoint name."""
    interval_s: int
    threshold: int
    """Base units below which a balance waits."""
    paused: bool = False
    payments_max: int = 500
    """Payees in one transaction."""
    fee_rate: int = 10
    """Base units per virtual byte of a payout transaction; the pool's fee book bears it."""
    fee_book: str
    """poolId whose fee book bears the network fee."""


class PayoutsSettings(Settings, frozen=True, kw_only=True):
    """Payout state machine and wallets."""

    database: str
    socket: Path
    coins: tuple[CoinSettings, ...]
    policies: tuple[PayoutPolicy, ...]
    shares_socket: Path
    ledger_socket: Path


class DevchainSettings(Settings, frozen=True, kw_only=True):
    """The built-in regtest node."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int
    user: str
    password: str
    bits: int = 0x1F00FFFF
    """Compact target of every block: 0x1f00ffff is one block in 2^16 hashes."""
    coinbase_maturity: int = 10
    socket: Path | None = None


SettingsT = TypeVar("SettingsT", bound=Settings)
StructT = TypeVar("StructT", bound=msgspec.Struct)


class Unusable(Exception):
    """Raised by a process that can not start as it is configured; the text says what to change.

    Its supervisor does not start it again: nothing but another configuration helps.
    """


class SettingsError(Unusable):
    """Raised when a settings file is missing, not JSON, or not of its shape."""


def _path_to_text(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _text_to_path(shape: type, value: Any) -> Any:
    if issubclass(shape, Path) and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected `str` for a path, got `{type(value).__name__}`")


def to_json(value: msgspec.Struct) -> bytes:
    """Encode settings, or another struct with paths, as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_path_to_text), indent=2)


def from_json(text: bytes, shape: type[StructT]) -> StructT:
    """Decode what `to_json` wrote; raises msgspec.DecodeError with the path of what is wrong."""
    return msgspec.json.decode(text, type=shape, dec_hook=_text_to_path)


def load(path: Path, shape: type[SettingsT]) -> SettingsT:
    """Read settings of `shape` from a JSON file; the error names file, key and what is allowed."""
    try:
        return from_json(path.read_bytes(), shape)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such settings file") from error
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path}: {error}") from error


def store(path: Path, settings: Settings) -> None:
    """Write settings where only their owner may read them: they can hold node passwords."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(to_json(settings))
