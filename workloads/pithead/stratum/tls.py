"""Answers for the certificates of listeners: from PEM files, replaced while the process runs.

The files are looked at every few seconds. When their contents differ, a new
context is made of them, which counts for connections from then on; those that
exist keep theirs. A pair that is not usable (it may be half written) leaves the
one of before in use. Nothing here knows sockets.
"""

import asyncio
import hashlib
import logging
import ssl

from pithead.config import TlsFiles
from pithead.stratum import metrics
from pithead.stratum.failures import TlsUnusable

LOOK_S = 5.0
"""Between looks at the files: a certificate is renewed days before it expires."""

logger = logging.getLogger(__name__)


class Certificates:
    """The certificate of one listener."""

    def __init__(self, listener: str, files: TlsFiles) -> None:
        """Load the files; raises TlsUnusable."""
        self._listener = listener
        self._files = files
        self._seen = self._digest()
        self.context = self._load()
        """What new connections are to use."""

    async def watch(self) -> None:
        """Follow the files for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.renew)

    def renew(self) -> None:
        """Take the files when they have changed and are usable; blocks for reading them."""
        seen = self._digest()
        if seen == self._seen:
            return
        # Noted before loading: what is replaced meanwhile is looked at again.
        self._seen = seen
        try:
            self.context = self._load()
        except TlsUnusable as error:
            metrics.RELOADS_FAILED.labels(self._listener).inc()
            logger.error("%s; the certificate of before is used", error)
        else:
            logger.info("listener %s: new certificate for new connections", self._listener)

    def _digest(self) -> bytes:
        """Return what stands for the contents; missing files have a digest too."""
        digest = hashlib.sha256()
        for path in (self._files.certificate, self._files.key):
            try:
                content = path.read_bytes()
            except OSError as error:
                content = str(error.errno).encode()
            digest.update(hashlib.sha256(content).digest())
        return digest.digest()

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Renegotiation costs the server far more than whoever asks for it.
        context.options |= ssl.OP_NO_RENEGOTIATION
        certificate, key = self._files.certificate, self._files.key
        try:
            # An empty password: a locked key is an error, not a question on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise TlsUnusable(self._listener, certificate, key, str(reason)) from error
        return context
