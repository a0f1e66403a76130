"""The certificates of one cluster, and the kubeconfig that carries its credentials inline."""

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=365)

PLAIN = serialization.NoEncryption()


def _name(common_name: str, organisation: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN
    )
    path.touch(0o600)
    path.write_bytes(text)


class Authority:
    """One cluster's certificate authority; it writes into the folder given."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        # Clocks of a test machine are one clock, but certificates count in seconds.
        self._from = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(folder / "ca.key", self._key)

    def issue(
        self,
        file: str,
        common_name: str,
        organisation: str | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """Write `file`.crt and `file`.key, good for a client and, under `names`, for a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = self._builder(_name(common_name, organisation), key).add_extension(
            x509.ExtendedKeyUsage(usage), critical=False
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        (self.folder / f"{file}.crt").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )
        _write_key(self.folder / f"{file}.key", key)

    def key_pair(self, file: str) -> None:
        """Write `file`.key and `file`.pub, for signing tokens."""
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(self.folder / f"{file}.key", key)
        (self.folder / f"{file}.pub").write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._from + LIFETIME)
        )


def kubeconfig(name: str, server: str, authority: Path, token: str, user: str = "admin") -> str:
    """Return a kubeconfig that needs no other file: authority and token are inside."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": base64.b64encode(
                            authority.read_bytes()
                        ).decode(),
                    },
                }
            ],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "current-context": name,
        },
        sort_keys=False,
    )
