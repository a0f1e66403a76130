"""Which kubeconfigs are taken, and what is said of the others."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pithead_operator.regions.kubeconfig import (
    SIZE_MAX,
    BadKubeconfig,
    expired_text,
    read_kubeconfig,
)

pytestmark = pytest.mark.gate

NOW = datetime(2026, 5, 1, tzinfo=UTC)
END = NOW + timedelta(days=30)
Config = dict[str, Any]


def certificate() -> tuple[str, str]:
    """A certificate until END and its key, both PEM in base64."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(END)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (
        base64.b64encode(made.public_bytes(Encoding.PEM)).decode(),
        base64.b64encode(pem).decode(),
    )


CERTIFICATE, KEY = certificate()


def config() -> Config:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "contexts": [{"name": "main", "context": {"cluster": "us", "user": "hub"}}],
        "clusters": [
            {
                "name": "us",
                "cluster": {
                    "server": "https://us.example.org:6443",
                    "certificate-authority-data": CERTIFICATE,
                },
            }
        ],
        "users": [{"name": "hub", "user": {"token": "secret-token"}}],
    }


def cluster(item: Config) -> Config:
    found: Config = item["clusters"][0]["cluster"]
    return found


def user(item: Config) -> Config:
    found: Config = item["users"][0]["user"]
    return found


def read(item: Config) -> Any:
    return read_kubeconfig(yaml.safe_dump(item).encode())


def test_an_inline_token_is_taken() -> None:
    access = read(config())
    assert access.server == "https://us.example.org:6443"
    assert access.token == "secret-token"
    assert access.ca.startswith("-----BEGIN CERTIFICATE-----")
    assert access.expires is None
    assert "secret-token" not in repr(access)


def test_an_inline_client_certificate_is_taken_with_its_end() -> None:
    item = config()
    item["users"][0]["user"] = {
        "client-certificate-data": CERTIFICATE,
        "client-key-data": KEY,
    }
    access = read(item)
    assert access.expires == END
    assert expired_text(access, END - timedelta(seconds=1)) == ""
    assert expired_text(access, END) == "its client certificate expired at 2026-05-31T00:00:00Z"


def test_a_token_that_says_its_end_is_told_when_it_has_expired() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(END.timestamp())}).encode())
    item = config()
    user(item)["token"] = f"e30.{claims.rstrip(b'=').decode()}.c2ln"
    assert expired_text(read(item), END).startswith("its token expired at 2026-05-31")


CHANGES: dict[str, tuple[Callable[[Config], object], str]] = {
    "exec": (
        lambda c: user(c).update(exec={"command": "aws"}),
        "it asks to run a program (exec)",
    ),
    "auth-provider": (
        lambda c: user(c).update({"auth-provider": {"name": "gcp"}}),
        "it asks to run a program (auth-provider)",
    ),
    "token-file": (lambda c: user(c).update(tokenFile="/etc/passwd"), "tokenFile is the path"),
    "key-file": (
        lambda c: user(c).update({"client-key": "/etc/key"}),
        "client-key is the path of a file, which is not read here; expected client-key-data",
    ),
    "ca-file": (
        lambda c: cluster(c).update({"certificate-authority": "/etc/ca"}),
        "certificate-authority is the path",
    ),
    "insecure": (
        lambda c: cluster(c).update({"insecure-skip-tls-verify": True}),
        "insecure-skip-tls-verify would give the credential to anybody",
    ),
    "proxy": (
        lambda c: cluster(c).update({"proxy-url": "http://x"}),
        "proxy-url is not supported",
    ),
    "password": (
        lambda c: user(c).update(username="a", password="b"),
        "username is not supported",
    ),
    "impersonation": (lambda c: user(c).update({"as": "root"}), "as is not supported"),
    "no-credential": (lambda c: user(c).clear(), "it has no inline credential"),
    "half-certificate": (
        lambda c: user(c).update({"client-certificate-data": CERTIFICATE}),
        "only one of client-certificate-data and client-key-data",
    ),
    "plain-http": (
        lambda c: cluster(c).update(server="http://us.example.org"),
        "server http://us.example.org; expected https://host:port",
    ),
    "no-server": (lambda c: cluster(c).pop("server"), "server is missing"),
    "no-ca": (
        lambda c: cluster(c).pop("certificate-authority-data"),
        "certificate-authority-data is missing",
    ),
    "ca-no-base64": (
        lambda c: cluster(c).update({"certificate-authority-data": "!!"}),
        "certificate-authority-data is not PEM in base64",
    ),
    "ca-no-certificate": (
        lambda c: cluster(c).update({"certificate-authority-data": "aGVsbG8="}),
        "certificate-authority-data holds no certificate",
    ),
    "token-of-two-lines": (
        lambda c: user(c).update(token="a\r\nHost: evil"),
        "its token is no plain text without white space",
    ),
    "no-context": (lambda c: c.pop("current-context"), "its context is not named"),
    "other-context": (
        lambda c: c.update({"current-context": "x"}),
        "its context x is not one of contexts",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_other_form_is_refused_with_a_sentence(change: str) -> None:
    item = config()
    act, sentence = CHANGES[change]
    act(item)
    with pytest.raises(BadKubeconfig) as refused:
        read(item)
    assert sentence in str(refused.value)
    assert "secret-token" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"a: [", b"\xff\xfe", b"x" * (SIZE_MAX + 1)],
    ids=["empty", "list", "broken", "binary", "huge"],
)
def test_what_is_no_kubeconfig_is_refused(text: bytes) -> None:
    with pytest.raises(BadKubeconfig):
        read_kubeconfig(text)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["contexts", "clusters", "users", "name", "current-context", "user"]
                ),
                x,
            )
        ),
    )
)
def test_no_content_raises_anything_else(value: object) -> None:
    with pytest.raises(BadKubeconfig):
        read_kubeconfig(yaml.safe_dump(value).encode())


def test_another_credential_is_another_digest() -> None:
    other = config()
    user(other)["token"] = "another"
    assert read(config()).digest == read(config()).digest != read(other).digest


@pytest.mark.parametrize(
    "text",
    [b"a: 2001-99-99", b"a: !!int b", b"a: !!bool b", b"a: !!timestamp b", b"a: !!float b"],
)
def test_values_that_yaml_can_not_make_are_refused(text: bytes) -> None:
    with pytest.raises(BadKubeconfig):
        read_kubeconfig(text)


def test_a_token_that_only_looks_like_one_is_as_good_as_any() -> None:
    payload = base64.urlsafe_b64encode(b"[" * 50_000).decode()
    item = config()
    user(item)["token"] = f"a.{payload}.c"
    assert read(item).expires is None


@pytest.mark.parametrize("login", ["admin:hidden@", ":hidden@"])
def test_a_password_in_the_address_is_refused_and_not_shown(login: str) -> None:
    item = config()
    cluster(item)["server"] = f"https://{login}api.example.org:6443"
    with pytest.raises(BadKubeconfig) as refused:
        read(item)
    assert "hidden" not in str(refused.value)
