"""Answers for gRPC's TLS credentials: made from PEM files, both ends with certificates."""

from typing import NamedTuple

import grpc

from pithead.config import TlsFiles, Unusable


class Pem(NamedTuple):
    """Contents of the files of one end."""

    key: bytes
    certificate: bytes
    ca: bytes


def read(files: TlsFiles) -> Pem:
    """Read the files; raises Unusable when one can not be read."""
    if files.ca is None:
        raise Unusable("TLS between services needs a `ca`")
    try:
        return Pem(files.key.read_bytes(), files.certificate.read_bytes(), files.ca.read_bytes())
    except OSError as error:
        raise Unusable(
            f"{error.filename}: {error.strerror}: TLS between services needs this file"
        ) from error


def client_credentials(pem: Pem) -> grpc.ChannelCredentials:
    """Credentials of a client that trusts `ca` alone."""
    return grpc.ssl_channel_credentials(
        root_certificates=pem.ca, private_key=pem.key, certificate_chain=pem.certificate
    )


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials of a server that lets in only clients with certificates of `ca`.

    The files are read again at each handshake. Raises Unusable when the first
    reading fails; a later one that fails leaves what there was.
    """
    shown = read(files)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        try:
            found = read(files)
        except Unusable:
            return None
        if found == shown:
            return None
        shown = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown),
        fetch,  # type: ignore[arg-type]  # None means unchanged; the stubs lack it
        require_client_authentication=True,
    )


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pem.key, pem.certificate)], root_certificates=pem.ca
    )
