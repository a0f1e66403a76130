"""Secrets as an API server gives them."""

import base64

from tests.unit.manifests.samples import Object

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n"


def served_secret(name: str, **values: str) -> Object:
    """A Secret with these texts."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


SECRETS = [
    served_secret("rpc", username="edge", password="first"),
    served_secret("wallet", username="wallet", password="second"),
    served_secret("kafka", username="kafka", password="third"),
    served_secret("kafka-ca", **{"ca.crt": CERTIFICATE}),
    served_secret("postgres", username="admin", password="fourth"),
    served_secret("region-kafka", username="edges", password="sixth"),
    served_secret("region-relay", username="relay", password="seventh"),
    served_secret("clickhouse", username="pithead", password="eighth"),
]
