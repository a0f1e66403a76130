"""Certificates for tests: an authority, and leaves that it signs, as files."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pithead.config import TlsFiles

LIFE = datetime.timedelta(hours=1)


class Authority:
    """One authority; its files lie in `directory`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / "ca.crt"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def leaf(self, who: str, *names: str, ca: Path | None = None) -> TlsFiles:
        """Write (or renew) the certificate of `who`, good for host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(who), self._name, key)
            .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), False)
            .sign(self._key, hashes.SHA256())
        )
        files = TlsFiles(
            certificate=self._directory / f"{who}.crt",
            key=self._directory / f"{who}.key",
            ca=ca or self.file,
        )
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        return files


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + LIFE)
    )
