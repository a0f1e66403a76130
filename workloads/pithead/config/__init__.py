"""Process configuration: frozen groups that each service reads once from its JSON file.

The runtime (one machine or cluster) renders these from manifests; services see
nothing else of the outside: no environment, no manifest. Unknown or half-given
keys are refused with their path.

A text value `fromFile:/abs/path` is replaced, when settings are loaded, by the
content of that file without surrounding white space. So a settings file itself
can be public while its secrets are mounted beside it.
"""

from pithead.config.edge import (
    DrainSettings,
    LimitSettings,
    ListenerSettings,
    RelaySettings,
    ReportSettings,
    SpoolSettings,
    StratumSettings,
    VardiffSettings,
)
from pithead.config.hub import (
    ChecksSettings,
    DevchainSettings,
    IntakeSettings,
    KeepSettings,
    LedgerSettings,
    PayoutPolicy,
    PayoutsSettings,
    PoolSettings,
    RelayedRegion,
    RewardsSettings,
    SharesSettings,
)
from pithead.config.loading import (
    Settings,
    SettingsError,
    Unusable,
    from_json,
    load,
    store,
    to_json,
)
from pithead.config.shared import (
    REGION_NAMES,
    UNIX,
    CoinSettings,
    ConnectionsSettings,
    HealthSettings,
    KafkaSettings,
    LogSettings,
    NodeSettings,
    PeerSettings,
    ServeSettings,
    SlotSettings,
    TlsFiles,
    WalletSettings,
    region_name,
    unix_address,
)
from pithead.config.wiring import (
    PoolRegistration,
    SchemeRegistration,
    ServiceRole,
    TopicSettings,
    WireDatabasesSettings,
    WireSchemesSettings,
    WireTopicsSettings,
    WireWalletSettings,
)

__all__ = [
    "REGION_NAMES",
    "UNIX",
    "ChecksSettings",
    "CoinSettings",
    "ConnectionsSettings",
    "DevchainSettings",
    "DrainSettings",
    "HealthSettings",
    "IntakeSettings",
    "KafkaSettings",
    "KeepSettings",
    "LedgerSettings",
    "LimitSettings",
    "ListenerSettings",
    "LogSettings",
    "NodeSettings",
    "PayoutPolicy",
    "PayoutsSettings",
    "PeerSettings",
    "PoolRegistration",
    "PoolSettings",
    "RelaySettings",
    "RelayedRegion",
    "ReportSettings",
    "RewardsSettings",
    "SchemeRegistration",
    "ServeSettings",
    "ServiceRole",
    "Settings",
    "SettingsError",
    "SharesSettings",
    "SlotSettings",
    "SpoolSettings",
    "StratumSettings",
    "TlsFiles",
    "TopicSettings",
    "Unusable",
    "VardiffSettings",
    "WalletSettings",
    "WireDatabasesSettings",
    "WireSchemesSettings",
    "WireTopicsSettings",
    "WireWalletSettings",
    "from_json",
    "load",
    "region_name",
    "store",
    "to_json",
    "unix_address",
]
