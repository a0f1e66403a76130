"""Answers for the Secret that goes out to a region with the edges of a pool.

A region gets what its edges need and nothing that spends: the nodes' users and
Kafka's. Wallet, database and signing keys are never copied.
"""

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
    if (kafka := inputs.pool.spec.stream.kafka) is not None:
        if kafka.credentials_secret_ref is not None:
            for key in (USERNAME, PASSWORD):
                name = kafka.credentials_secret_ref.name
                values[f"kafka-{key}"] = value_of(secrets, name, key)
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
