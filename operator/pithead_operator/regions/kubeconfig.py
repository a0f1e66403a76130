"""Answers for which kubeconfigs are taken: inline credentials only, and each refusal in a sentence.

A kubeconfig is somebody else's text in a Secret. Read as a program it could run
commands (`exec`), read files of this pod (paths), or send tokens anywhere
(`insecure-skip-tls-verify`), so only an address, an inline CA, and an inline
token or client certificate are read; whatever else would decide how to connect
is refused, not ignored. Only computes: time is an argument.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml
from cryptography import x509

SIZE_MAX = 256 * 1024
"""A kubeconfig with inline certificates has some kilobytes."""

FILES = {
    "certificate-authority": "certificate-authority-data",
    "client-certificate": "client-certificate-data",
    "client-key": "client-key-data",
    "tokenFile": "token",
}
PROGRAMS = ("exec", "auth-provider")
OTHERS = ("username", "password", "as", "as-uid", "as-groups", "as-user-extra")


class BadKubeconfig(Exception):
    """Raised when a kubeconfig is not taken; the text says why and what is expected."""


@dataclass(frozen=True)
class Access:
    """How to reach one API server."""

    server: str
    """https://host:port."""
    ca: str
    """PEM: what the server's certificate must be signed by."""
    tls_server_name: str = ""
    """Name in the server's certificate, when it is not the address's."""
    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    """PEM chain of the client."""
    key: str = field(default="", repr=False)
    expires: datetime | None = None
    """When certificate or token end, as far as they say so."""

    @property
    def digest(self) -> str:
        """Equal for equal accesses: whether a changed Secret means another connection."""
        parts = (self.server, self.ca, self.tls_server_name, self.token, self.certificate, self.key)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read_kubeconfig(text: bytes) -> Access:
    """The access that the current context describes; raises BadKubeconfig."""
    if len(text) > SIZE_MAX:
        raise BadKubeconfig(f"it has {len(text)} bytes; at most {SIZE_MAX} are read")
    try:
        config = yaml.safe_load(text)
    except Exception as error:
        # Values that are no number, truth or date end in whatever the reader's code raises.
        raise BadKubeconfig("it is not YAML; expected a kubeconfig") from error
    if not isinstance(config, dict):
        raise BadKubeconfig("it is no mapping; expected a kubeconfig")
    context = _named(config, "contexts", config.get("current-context"), "context", "its context")
    cluster = _named(config, "clusters", context.get("cluster"), "cluster", "its cluster")
    user = _named(config, "users", context.get("user"), "user", "its user")
    _refuse_more(cluster, user)
    certificate, key = _pem(user, "client-certificate-data"), _pem(user, "client-key-data")
    token = user.get("token") or ""
    if not isinstance(token, str) or not token.isascii() or any(c.isspace() for c in token):
        raise BadKubeconfig("its token is no plain text without white space")
    if bool(certificate) != bool(key):
        raise BadKubeconfig(
            "only one of client-certificate-data and client-key-data is given; expected both"
        )
    if not token and not certificate:
        raise BadKubeconfig(
            "it has no inline credential; expected token, or client-certificate-data and "
            "client-key-data"
        )
    ca = _pem(cluster, "certificate-authority-data")
    if not ca:
        raise BadKubeconfig(
            "certificate-authority-data is missing; expected the CA of the API server inline"
        )
    _certificates(ca, "certificate-authority-data")
    name = cluster.get("tls-server-name") or ""
    ends = [_token_end(token)] if token else []
    if certificate:
        chain = _certificates(certificate, "client-certificate-data")
        ends.append(chain[0].not_valid_after_utc)
    return Access(
        server=_server(cluster.get("server")),
        ca=ca,
        tls_server_name=str(name),
        token=token,
        certificate=certificate,
        key=key,
        expires=min((end for end in ends if end is not None), default=None),
    )


def expired_text(access: Access, now: datetime) -> str:
    """A sentence when the credential has expired, else nothing."""
    if access.expires is None or now < access.expires:
        return ""
    what = "client certificate" if access.certificate else "token"
    return f"its {what} expired at {access.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _named(config: dict[str, Any], where: str, name: object, key: str, what: str) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise BadKubeconfig(f"{what} is not named; expected a name of one of {where}")
    entries = config.get(where)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            value = entry.get(key)
            if isinstance(value, dict):
                return value
    raise BadKubeconfig(f"{what} {name[:64]} is not one of {where}")


def _refuse_more(cluster: dict[str, Any], user: dict[str, Any]) -> None:
    for name in PROGRAMS:
        if user.get(name):
            raise BadKubeconfig(
                f"it asks to run a program ({name}), which is not done here; "
                "expected an inline token or client certificate"
            )
    for name, inline in FILES.items():
        if user.get(name) or cluster.get(name):
            raise BadKubeconfig(
                f"{name} is the path of a file, which is not read here; expected {inline} inline"
            )
    if cluster.get("insecure-skip-tls-verify"):
        raise BadKubeconfig(
            "insecure-skip-tls-verify would give the credential to anybody; "
            "expected certificate-authority-data"
        )
    if cluster.get("proxy-url"):
        raise BadKubeconfig(
            "proxy-url is not supported; expected a server that is reached directly"
        )
    for name in OTHERS:
        if user.get(name):
            raise BadKubeconfig(
                f"{name} is not supported; expected an inline token or client certificate"
            )


def _server(value: object) -> str:
    text = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    else:
        usable = usable and not parts.query and not parts.fragment
    if "@" in text:
        raise BadKubeconfig(
            "server holds a user or a password; expected https://host:port and an inline credential"
        )
    if not usable:
        raise BadKubeconfig(f"server {text[:128] or 'is missing'}; expected https://host:port")
    return text.rstrip("/")


def _pem(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if not value:
        return ""
    try:
        return base64.b64decode(value, validate=True).decode("ascii")
    except (TypeError, ValueError, binascii.Error, UnicodeDecodeError) as error:
        raise BadKubeconfig(f"{key} is not PEM in base64") from error


def _certificates(pem: str, key: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise BadKubeconfig(f"{key} holds no certificate in PEM") from error


def _token_end(token: str) -> datetime | None:
    """When a JWT says that it ends; None for other tokens. Nothing is trusted because of it."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = msgspec.json.decode(
            base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        )
        return datetime.fromtimestamp(int(payload["exp"]), UTC)
    except (ValueError, LookupError, TypeError, ArithmeticError, OSError, RecursionError):
        return None
