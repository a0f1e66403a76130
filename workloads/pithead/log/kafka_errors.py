"""The one place where errors of the Kafka client become errors of the log."""

import ssl

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    CorruptRecordException,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from pithead.log.errors import LogBroken, LogCorrupt, LogError, LogNotAllowed, LogUnavailable

NOT_ALLOWED = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    ssl.SSLCertVerificationError,
)
"""User, rights or certificates are wrong: waiting alone mends none of them."""

USED_UP = (OutOfOrderSequenceNumber, ProducerClosed, ProducerFenced, MessageSizeTooLargeError)
"""A producer that met these confirms nothing any more, or would fail in the same way again."""

REASON_CHARS_MAX = 256
"""Foreign text is cut."""


def translated(error: BaseException, place: str) -> LogError:
    """Return the error of the log that stands for one of the client; a LogError stays itself."""
    if isinstance(error, LogError):
        return error
    reason = (str(error) or type(error).__name__)[:REASON_CHARS_MAX]
    if isinstance(error, NOT_ALLOWED):
        return LogNotAllowed(place, reason)
    if isinstance(error, CorruptRecordException):
        return LogCorrupt(place, -1, reason)
    if isinstance(error, USED_UP):
        return LogBroken(place, reason)
    return LogUnavailable(place, reason)
