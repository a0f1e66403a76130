"""Answers for the Secrets that the operator makes itself: certificates and database passwords.

The hub's services trust one authority, which lives in the hub's namespace and
signs a certificate for each of them. What exists is kept as long as it is
good: a certificate until less than a third of its life is left, or until it no
longer fits its names or its authority; a password for ever. An authority that
is renewed stays beside the new one in `ca.crt` until it ends, so that processes
with old and new certificates understand each other meanwhile.

    pithead-ca       ca.crt, ca.key (of the first certificate in ca.crt), digest.key
    pithead-tls      ca.crt, <service>.crt, <service>.key
    pithead-roles    <service>-password, <service>-url
    pithead-regions  ca.crt, ca.key, <region>.crt, <region>.key

Relays of regions have an authority of their own, which the hub's intake alone
trusts: what is stolen in a region passes for no service of the hub.

The clock and the source of randomness are arguments. Anything that can not be
read back is made anew.
"""

import base64
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pithead.config import region_name
from pithead.config.cluster import INTAKE, WIRING, WITH_DATABASE, database_url
from pithead.manifests.backing import Database
from pithead_operator.desired import names
from pithead_operator.desired.inputs import Object
from pithead_operator.desired.objects import new_object

CERTIFIED = (*WITH_DATABASE, "analytics", WIRING)
"""Processes with a certificate: each serves, calls, or does both."""

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
CLOCK_SKEW = timedelta(minutes=5)
"""Certificates begin this much earlier, for machines whose clock is behind."""
PASSWORD_BYTES = 24
DIGEST_KEY_BYTES = 32
DIGEST_KEY = "digest.key"

Data = Mapping[str, bytes]
"""Contents of a Secret."""


@dataclass(frozen=True)
class Randomness:
    """Where keys, passwords and serial numbers come from."""

    key: Callable[[], ec.EllipticCurvePrivateKey]
    """A new key on the curve P-256."""
    token: Callable[[int], bytes]
    """That many random bytes."""
    serial: Callable[[], int]
    """A serial number of a certificate."""


@dataclass(frozen=True)
class _Signed:
    """A certificate with its key, read back."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def secret_object(namespace: str, hub_uid: str, name: str, data: Data) -> Object:
    """The Secret itself, with the labels of the hub."""
    labels = names.minted_labels(namespace, hub_uid)
    encoded = {key: base64.b64encode(data[key]).decode() for key in sorted(data)}
    return new_object("v1", "Secret", namespace, name, labels, type="Opaque", data=encoded)


def mint_ca(old: Data, now: datetime, random: Randomness) -> dict[str, bytes]:
    """Contents of `pithead-ca`; `old` is what there is, empty at first."""
    signed = _read(old.get("ca.crt", b""), old.get("ca.key", b""))
    digest_key = old.get(DIGEST_KEY, b"") or random.token(DIGEST_KEY_BYTES)
    if signed is not None and not _is_due(signed.certificate, now):
        return {"ca.crt": old["ca.crt"], "ca.key": old["ca.key"], DIGEST_KEY: digest_key}
    key = random.key()
    made = _authority(key, now, random.serial())
    earlier = [each for each in _chain(old.get("ca.crt", b"")) if each.not_valid_after_utc > now]
    return {
        "ca.crt": b"".join(_pem(each) for each in (made, *earlier)),
        "ca.key": _key_pem(key),
        DIGEST_KEY: digest_key,
    }


def mint_tls(
    authority: Data,
    old: Data,
    namespace: str,
    now: datetime,
    random: Randomness,
    intake: tuple[str, ...] = (),
) -> dict[str, bytes]:
    """Contents of `pithead-tls`, signed by `authority` (what `mint_ca` gave).

    `intake` are the names and addresses by which relays dial the hub, if any do.
    """
    owners = {service: dns_names(service, namespace) for service in CERTIFIED}
    if intake:
        owners[INTAKE] = intake
    return {"ca.crt": authority["ca.crt"]} | _leaves(authority, old, owners, now, random)


def mint_regions(
    old: Data, regions: tuple[str, ...], now: datetime, random: Randomness
) -> dict[str, bytes]:
    """Contents of `pithead-regions`: their authority, and a certificate for each relay."""
    made = mint_ca(old, now, random)
    authority = {key: made[key] for key in ("ca.crt", "ca.key")}
    owners = {region: (region_name(region),) for region in regions}
    return authority | _leaves(authority, old, owners, now, random)


def _leaves(
    authority: Data,
    old: Data,
    owners: Mapping[str, tuple[str, ...]],
    now: datetime,
    random: Randomness,
) -> dict[str, bytes]:
    """A certificate for each owner, by the names that it bears: the one it has, or a new one."""
    signer = _read(authority["ca.crt"], authority["ca.key"])
    if signer is None:
        raise ValueError("the authority can not be read back; mint_ca makes one")
    data = {}
    for owner, named in owners.items():
        kept = _read(old.get(f"{owner}.crt", b""), old.get(f"{owner}.key", b""))
        if kept is not None and _fits(kept.certificate, signer.certificate, named, now):
            data[f"{owner}.crt"] = old[f"{owner}.crt"]
            data[f"{owner}.key"] = old[f"{owner}.key"]
            continue
        key = random.key()
        data[f"{owner}.crt"] = _pem(_leaf(key, signer, named, now, random.serial()))
        data[f"{owner}.key"] = _key_pem(key)
    return data


def mint_roles(database: Database, old: Data, random: Randomness) -> dict[str, bytes]:
    """Contents of `pithead-roles`: passwords of the services' roles, and URLs that hold them."""
    data = {}
    for service in WITH_DATABASE:
        password = old.get(f"{service}-password", b"")
        if not password:
            password = base64.urlsafe_b64encode(random.token(PASSWORD_BYTES)).rstrip(b"=")
        role = names.role_name(database.name, service)
        data[f"{service}-password"] = password
        data[f"{service}-url"] = database_url(database, role, password.decode()).encode()
    return data


def digest_key(authority: Data) -> bytes:
    """The key of digests in annotations, from the contents of `pithead-ca`."""
    return authority[DIGEST_KEY]


def dns_names(service: str, namespace: str) -> tuple[str, ...]:
    """Names by which a service is called inside the cluster."""
    short = f"pithead-{service}"
    spaced = f"{short}.{namespace}"
    return (short, spaced, f"{spaced}.svc", f"{spaced}.svc.cluster.local")


def _is_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether less than a third of a certificate's life is left."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return (certificate.not_valid_after_utc - now) * 3 < life


def _fits(
    certificate: x509.Certificate, signer: x509.Certificate, named: tuple[str, ...], now: datetime
) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return list(extension.value) == _alternatives(named) and not _is_due(certificate, now)


def _alternatives(named: tuple[str, ...]) -> list[x509.GeneralName]:
    """Names and addresses as a certificate bears them."""
    found: list[x509.GeneralName] = []
    for each in named:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(each)))
        except ValueError:
            found.append(x509.DNSName(each))
    return found


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime, serial: int) -> x509.Certificate:
    # The serial number in the name tells a renewed authority from the earlier one.
    name = _subject(f"pithead hub {serial:x}"[:64])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(key, name, name, now, CA_LIFE, serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def _leaf(
    key: ec.EllipticCurvePrivateKey,
    signer: _Signed,
    named: tuple[str, ...],
    now: datetime,
    serial: int,
) -> x509.Certificate:
    alternatives = x509.SubjectAlternativeName(_alternatives(named))
    usages = x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    return (
        _builder(key, _subject(named[0][:64]), signer.certificate.subject, now, LEAF_LIFE, serial)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(alternatives, critical=False)
        .add_extension(usages, critical=False)
        .add_extension(issuer, critical=False)
        .sign(signer.key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def _builder(
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer: x509.Name,
    now: datetime,
    life: timedelta,
    serial: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _read(certificate: bytes, key: bytes) -> _Signed | None:
    """The first certificate and its key; None unless both can be read and belong together."""
    chain = _chain(certificate)
    try:
        private = load_pem_private_key(key, password=None)
    except ValueError:
        return None
    if not chain or not isinstance(private, ec.EllipticCurvePrivateKey):
        return None
    public = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if chain[0].public_key().public_bytes(*public) != private.public_key().public_bytes(*public):
        return None
    return _Signed(chain[0], private)


def _chain(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
