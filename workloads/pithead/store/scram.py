"""SCRAM-SHA-256 verifiers as PostgreSQL stores them (RFC 5802, RFC 7677). Pure but for the salt.

A password is turned into its verifier here, so that it travels in no statement and
stands in no server's log, whatever `password_encryption` the server has.
"""

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode

ITERATIONS = 4096
SALT_BYTES = 16

_VERIFIER = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>[0-9]{1,9}):(?P<salt>[^$]+)\$(?P<stored>[^:]+):(?P<server>.+)"
)


def check_password(password: str) -> None:
    """Raise ValueError for a password whose SASLprep would have to be worked out."""
    if not password or not password.isascii() or not password.isprintable():
        raise ValueError("a database password is printable ASCII, at least one character")


def verifier(password: str, salt: bytes = b"", iterations: int = ITERATIONS) -> str:
    """Return what `ALTER ROLE .. PASSWORD` takes; a new salt unless one is given."""
    check_password(password)
    salt = salt or secrets.token_bytes(SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client).digest()
    return (
        f"SCRAM-SHA-256${iterations}:{b64encode(salt).decode()}"
        f"${b64encode(stored).decode()}:{b64encode(server).decode()}"
    )


def verifies(stands: str | None, password: str) -> bool:
    """Tell whether a stored verifier is one of this password."""
    found = _VERIFIER.fullmatch(stands or "")
    if found is None:
        return False
    again = verifier(password, b64decode(found["salt"]), int(found["iterations"]))
    return hmac.compare_digest(again, stands or "")
