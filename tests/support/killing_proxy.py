"""A proxy before an API server that tells of each write, before and after it arrived.

It speaks TLS with an authority of its own, since kubeconfigs without one are
refused, and passes watches on as they come.
"""

import asyncio
import base64
import contextlib
import ipaddress
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

READ = frozenset({"GET", "HEAD", "OPTIONS"})
DROPPED = frozenset({"host", "content-length", "transfer-encoding", "connection"})


class KillingProxy:
    """One proxy, on a port of its own of the loopback address."""

    def __init__(self, kubeconfig: str, folder: Path) -> None:
        folder.mkdir()
        self.written: Callable[[bool], bool] = lambda arrived: False
        """Told False before a write is passed on, True after it was answered. When it says true
        to the former, the write never arrives."""
        self.kubeconfig = folder / "kubeconfig"
        config = yaml.safe_load(kubeconfig)
        cluster = config["clusters"][0]["cluster"]
        self._server = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._upstream = ssl.create_default_context(cadata=authority)
        pem = _certificate(folder)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(folder / "proxy.pem")
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(10)
        cluster["server"] = f"https://127.0.0.1:{self._port}"
        cluster["certificate-authority-data"] = base64.b64encode(pem).decode()
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def close(self) -> None:
        """End the proxy."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        session = self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.run_until_complete(session.close())
        self._loop.close()

    async def _start(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._upstream), auto_decompress=False
        )
        application = web.Application(client_max_size=2**24)
        self._session = session
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._up.set()
        return session

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in DROPPED}
        writes = request.method not in READ and "/leases/" not in request.path
        if writes and self.written(False):
            return web.Response(status=503)
        async with self._session.request(
            request.method,
            f"{self._server}{request.path_qs}",
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Content-Type", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in DROPPED}
            if writes:
                body = await answer.read()
                self.written(True)
                return web.Response(status=answer.status, headers=kept, body=body)
            response = web.StreamResponse(status=answer.status, headers=kept)
            with contextlib.suppress(ConnectionError):
                # The operator may have died meanwhile.
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response


def _certificate(folder: Path) -> bytes:
    """Write a certificate for the loopback address with its key; returns the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "proxy.pem").write_bytes(pem + secret)
    return pem
