"""Answers for the Secret that goes out to a region with the edges of a pool.

A region gets what its edges need and nothing that spends: the nodes' users and
that of the Kafka that they write to. Wallet, database and signing keys are
never copied. A relay has a Secret of its own, with its certificate.
"""

from pithead.config.cluster import edge_kafka
from pithead.manifests.backing import Kafka
from pithead.manifests.base import SecretReference
from pithead_operator.desired import names
from pithead_operator.desired.inputs import EdgeInputs, MissingInput, Secrets

USERNAME = "username"
PASSWORD = "password"  # noqa: S105 - the name of a key
CA_KEY = "ca.crt"


def edge_secret(inputs: EdgeInputs) -> dict[str, bytes]:
    """Contents of the Secret of one pool in one region; raises MissingInput."""
    secrets = inputs.hub.secrets
    values = {}
    for node in inputs.hub.manifests.endpoint(inputs.pool).spec.nodes:
        for key in (USERNAME, PASSWORD):
            name = node.credentials_secret_ref.name
            values[f"node-{node.name}-{key}"] = value_of(secrets, name, key)
    kafka = edge_kafka(inputs.pool, inputs.region)
    return values | _kafka(secrets, kafka, kafka.credentials_secret_ref)


def relay_secret(inputs: EdgeInputs) -> dict[str, bytes]:
    """Contents of the Secret of a region's relay and topics Job; raises MissingInput."""
    own = inputs.region.stream
    if own is None:
        raise MissingInput(f"a stream of region {inputs.region.id}")
    secrets, region = inputs.hub.secrets, inputs.region.id
    login = own.relay_credentials_secret_ref or own.kafka.credentials_secret_ref
    return _kafka(secrets, own.kafka, login) | {
        "relay.crt": value_of(secrets, names.REGIONS, f"{region}.crt"),
        "relay.key": value_of(secrets, names.REGIONS, f"{region}.key"),
        "hub-ca.crt": value_of(secrets, names.TLS, CA_KEY),
    }


def _kafka(secrets: Secrets, kafka: Kafka, login: SecretReference | None) -> dict[str, bytes]:
    values = {}
    if login is not None:
        for key in (USERNAME, PASSWORD):
            values[f"kafka-{key}"] = value_of(secrets, login.name, key)
    if kafka.tls is not None and kafka.tls.ca_secret_ref is not None:
        values["kafka-ca.crt"] = value_of(secrets, kafka.tls.ca_secret_ref.name, CA_KEY)
    return values


def value_of(secrets: Secrets, name: str, key: str) -> bytes:
    """One value; raises MissingInput, which names Secret and key, when there is none."""
    if name not in secrets:
        raise MissingInput(f"Secret {name}")
    value = secrets[name].get(key, b"").strip()
    if not value:
        raise MissingInput(f"Secret {name}, key {key}")
    return value
