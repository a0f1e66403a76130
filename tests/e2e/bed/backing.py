"""What the pools of the bed stand on, beside the clusters: Kafka twice, databases, a Litecoin node.

They run on the host's end of the bridge, where the pods of every region reach them under the names
that examples/three-regions uses: the bed's DNS answers for these. Passwords are made anew for each
run and handed to the pools as Secrets only.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.bed.addresses import HOST, HOST_NAMES
from tests.support.clickhouse import ClickHouseServer
from tests.support.kafka import KafkaBroker, KafkaFiles
from tests.support.litecoind import EDGE_METHODS, Litecoind, RpcUser
from tests.support.litecoind import PASSWORD as WALLET_PASSWORD
from tests.support.litecoind import USER as WALLET_USER
from tests.support.postgresql import FAST, SUPERUSER, PostgresServer

KAFKA_NAME, KAFKA_US_NAME = HOST_NAMES[:2]

KAFKA_PORT = 9092
KAFKA_US_PORT = 9192
POSTGRES_PORT = 5432
NODE_PORT = 19332
DATABASE = "postgres"
CLICKHOUSE_PORT = 9000
KAFKA_USER = "pithead"
KAFKA_US_EDGE, KAFKA_US_RELAY = "edge-us", "relay-us"
EDGE_USER = "edge"


def secret(name: str, namespace: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Return a Secret with these texts."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": dict(values),
    }


@dataclass
class Backing:
    """The servers; each can be stopped, killed and started by itself."""

    directory: Path
    """Their data; the user that PostgreSQL runs as must be let through."""
    host: str = HOST

    def __post_init__(self) -> None:
        self.kafka_password = secrets.token_urlsafe(12)
        self.edge_password = secrets.token_urlsafe(12)
        self.kafka = KafkaBroker(
            KafkaFiles(
                self.directory / "kafka",
                host=self.host,
                port=KAFKA_PORT,
                also_named=(KAFKA_NAME,),
                users={KAFKA_USER: self.kafka_password},
            )
        )
        self.kafka_us_passwords = {
            name: secrets.token_urlsafe(12) for name in (KAFKA_US_EDGE, KAFKA_US_RELAY)
        }
        self.kafka_us = KafkaBroker(
            KafkaFiles(
                self.directory / "kafka-us",
                host=self.host,
                port=KAFKA_US_PORT,
                also_named=(KAFKA_US_NAME,),
                users=self.kafka_us_passwords,
            )
        )
        self.clickhouse = ClickHouseServer(
            self.directory / "clickhouse",
            password=secrets.token_urlsafe(12),
            port=CLICKHOUSE_PORT,
            address=self.host,
        )
        self.postgres = PostgresServer(
            self.directory / "postgres",
            secrets.token_urlsafe(12),
            address=self.host,
            port=POSTGRES_PORT,
            # It listens on the bridge alone.
            allowed="0.0.0.0/0",
            options=dict(FAST, max_connections="200"),
        )
        self.node = Litecoind(
            self.directory / "litecoind",
            rpc_port=NODE_PORT,
            host=self.host,
            users=[RpcUser(EDGE_USER, self.edge_password, EDGE_METHODS)],
        )

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        try:
            self.kafka.start()
            self.kafka_us.start()
            self.postgres.start()
            self.clickhouse.start()
            asyncio.run(self._until_ready())
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def _until_ready(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.node.start())
            tasks.create_task(self.kafka.until_ready())
            tasks.create_task(self.kafka_us.until_ready())

    def stop(self) -> None:
        """End all of them; may be repeated."""
        self.kafka.stop()
        self.kafka_us.stop()
        self.clickhouse.stop()
        self.postgres.stop()
        self.node.stop()

    def secrets(self, namespace: str) -> list[dict[str, Any]]:
        """Return the Secrets that examples/three-regions names, with this run's passwords."""
        return [
            secret("litecoind-edge", namespace,
                   {"username": EDGE_USER, "password": self.edge_password}),
            secret("litecoind-wallet", namespace,
                   {"username": WALLET_USER, "password": WALLET_PASSWORD}),
            secret("postgres-admin", namespace,
                   {"username": SUPERUSER, "password": self.postgres.password}),
            secret("kafka-client", namespace,
                   {"username": KAFKA_USER, "password": self.kafka_password}),
            secret("kafka-ca", namespace, {"ca.crt": self.kafka.files.ca.read_text()}),
            secret("kafka-us-edge", namespace,
                   {"username": KAFKA_US_EDGE, "password": self.kafka_us_passwords[KAFKA_US_EDGE]}),
            secret("kafka-us-relay", namespace,
                   {"username": KAFKA_US_RELAY,
                    "password": self.kafka_us_passwords[KAFKA_US_RELAY]}),
            secret("kafka-us-ca", namespace, {"ca.crt": self.kafka_us.files.ca.read_text()}),
            secret("clickhouse", namespace,
                   {"username": "default", "password": self.clickhouse.password}),
        ]  # fmt: skip
