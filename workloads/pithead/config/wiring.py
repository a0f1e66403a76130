"""Answers for the settings of the wiring tasks, each of which makes or asks something once."""

from pithead.config.loading import Settings
from pithead.config.shared import CoinSettings, ColumnarSettings, KafkaSettings, PeerSettings


class ServiceRole(Settings, frozen=True, kw_only=True):
    """The role by which one service reaches its own tables."""

    service: str
    username: str
    password: str


class WireDatabasesSettings(Settings, frozen=True, kw_only=True):
    """Roles and schemas that the services of a hub need."""

    admin_url: str
    """SQLAlchemy URL of the database, without a user."""
    username: str
    """Role that may create schemas and roles."""
    password: str
    services: tuple[ServiceRole, ...]


class TopicSettings(Settings, frozen=True, kw_only=True):
    """One topic of the share log in Kafka."""

    name: str
    partitions: int
    replicas: int


class WireTopicsSettings(Settings, frozen=True, kw_only=True):
    """Topics that the services of a hub need."""

    kafka: KafkaSettings
    topics: tuple[TopicSettings, ...]


class WireAnalyticsSettings(Settings, frozen=True, kw_only=True):
    """The columnar database of charts, whose tables are to be there."""

    store: ColumnarSettings


class WireWalletSettings(Settings, frozen=True, kw_only=True):
    """The wallet whose address coinbases pay."""

    database: str
    """Of payouts, which remembers the address for ever."""
    coin: CoinSettings


class SchemeRegistration(Settings, frozen=True, kw_only=True):
    """One scheme that rewards must be told about before edges start."""

    name: str
    method: str
    parameters: str
    """Canonical JSON of all that changes money."""


class PoolRegistration(Settings, frozen=True, kw_only=True):
    """The schemes of one pool."""

    pool: str
    """poolId."""
    coin: str
    """`<coin>/<network>`."""
    schemes: tuple[SchemeRegistration, ...]


class WireSchemesSettings(Settings, frozen=True, kw_only=True):
    """What rewards is told about schemes, and asked for slots."""

    rewards: PeerSettings
    pools: tuple[PoolRegistration, ...]
