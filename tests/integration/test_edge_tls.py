"""Miners behind TLS: the same answers, certificates that are replaced, and peers that spoil it."""

import asyncio
import inspect
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from pithead.coins.node import NodeAddress
from pithead.coins.registry import chain_params
from pithead.config import LimitSettings, StratumSettings, TlsFiles
from pithead.process import Stop
from pithead.stratum import metrics, tls, transport
from pithead.stratum.failures import TlsUnusable
from pithead.stratum.service import run
from tests.support.certificates import Authority
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.edge import RunningEdge, address, edge_settings, running_edge
from tests.support.litecoind import free_port
from tests.support.stratum_client import StratumClient

pytestmark = pytest.mark.gate

PARAMS = chain_params("devchain", "regtest")
RARE_BLOCKS = 0x1F00FFFF
NODE = NodeAddress("n", "http://127.0.0.1:1", "u", "p")
NAMES = ("127.0.0.1", "eu.pool.example")


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on each loop: processes use uvloop, whose TLS is its own."""

    def on_loop(new_loop: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**fixtures))

    signature = inspect.signature(test)
    loop = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [loop, *signature.parameters.values()]
    vars(on_loop)["__signature__"] = signature.replace(parameters=parameters)
    both = pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS.keys())
    run: Callable[..., None] = both(on_loop)
    return run


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "made")


class Mounted:
    """A Secret as Kubernetes mounts it: files are links through a directory that is switched."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._times = 0
        self.files = TlsFiles(certificate=directory / "tls.crt", key=directory / "tls.key")

    def switch(self, certificate: bytes, key: bytes) -> None:
        self._times += 1
        made = self.directory / f"..{self._times}"
        made.mkdir()
        (made / "tls.crt").write_bytes(certificate)
        (made / "tls.key").write_bytes(key)
        link = self.directory / "..data_tmp"
        link.symlink_to(made.name)
        os.replace(link, self.directory / "..data")
        for path in (self.files.certificate, self.files.key):
            if not path.is_symlink():
                path.symlink_to(f"..data/{path.name}")

    def take(self, made: TlsFiles) -> None:
        self.switch(made.certificate.read_bytes(), made.key.read_bytes())


def secured(settings: StratumSettings, files: TlsFiles) -> StratumSettings:
    """Put a TLS listener beside the plain one."""
    plain = settings.listeners[0]
    second = msgspec.structs.replace(plain, name="secure", port=free_port(), tls=files)
    return msgspec.structs.replace(settings, listeners=(plain, second))


@asynccontextmanager
async def secure_edge(
    tmp_path: Path, files: TlsFiles, **changes: Any
) -> AsyncIterator[tuple[RunningEdge, int]]:
    """Run an edge with a plain and a TLS listener; yields it and the port of the second."""
    chain = devchain_settings(tmp_path / "chain", bits=RARE_BLOCKS)
    async with DevchainTask(chain) as node:
        settings = secured(edge_settings(tmp_path, PARAMS, node.access, **changes), files)
        async with running_edge(settings) as edge:
            yield edge, settings.listeners[1].port


def trust(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.file)


def failed(cause: str) -> float:
    return float(metrics.HANDSHAKES_FAILED.labels("secure", cause)._value.get())


async def mines(client: StratumClient, count: int = 3) -> None:
    await client.login(address(PARAMS, 1) + ".rig")
    job = await client.job()
    for number in range(count):
        assert (await client.submit(client.solve(job, number)))["result"] is True


@on_both_loops
async def test_shares_over_tls_and_plain_are_answered_alike(
    tmp_path: Path, authority: Authority
) -> None:
    async with (
        secure_edge(tmp_path, authority.leaf("edge", *NAMES)) as (edge, port),
        StratumClient(PARAMS, port, tls=trust(authority)) as secure,
        StratumClient(PARAMS, edge.port) as plain,
    ):
        await asyncio.gather(mines(secure, 20), mines(plain, 20))
        assert (await edge.status()).accepted == 40
        pings = [secure.ask("mining.ping") for _ in range(2000)]
        answers = await asyncio.wait_for(asyncio.gather(*pings), 10)
        assert {answer["result"] for answer in answers} == {"pong"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_both_loops
async def test_miners_that_check_nothing_and_name_no_host_are_served(
    tmp_path: Path, authority: Authority, version: ssl.TLSVersion
) -> None:
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    careless.minimum_version = careless.maximum_version = version
    async with (
        secure_edge(tmp_path, authority.leaf("edge", *NAMES)) as (_, port),
        StratumClient(PARAMS, port, tls=careless) as client,
    ):
        await mines(client)


async def shown(port: int, authority: Authority) -> int:
    """Serial number of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust(authority))
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(der).serial_number


async def until_shown(port: int, authority: Authority, serial: int) -> None:
    async with asyncio.timeout(10):
        while await shown(port, authority) != serial:
            await asyncio.sleep(0.02)


def serial_of(files: TlsFiles) -> int:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number


@on_both_loops
async def test_a_renewed_secret_counts_for_new_connections_and_closes_none(
    tmp_path: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tls, "LOOK_S", 0.05)
    mounted = Mounted(tmp_path / "secret")
    first = authority.leaf("first", *NAMES)
    mounted.take(first)
    async with (
        secure_edge(tmp_path, mounted.files) as (edge, port),
        StratumClient(PARAMS, port, tls=trust(authority)) as old,
    ):
        await mines(old)
        assert await shown(port, authority) == serial_of(first)
        second = authority.leaf("second", *NAMES)
        mounted.take(second)
        await until_shown(port, authority, serial_of(second))

        refused = metrics.RELOADS_FAILED.labels("secure")._value.get()
        key_of_another = authority.leaf("third", *NAMES).key.read_bytes()
        mounted.switch(second.certificate.read_bytes(), key_of_another)
        async with asyncio.timeout(10):
            while metrics.RELOADS_FAILED.labels("secure")._value.get() == refused:
                await asyncio.sleep(0.02)
        assert "the certificate of before is used" in caplog.text
        assert await shown(port, authority) == serial_of(second)
        mounted.directory.joinpath("..data").unlink()
        await asyncio.sleep(0.2)
        assert metrics.RELOADS_FAILED.labels("secure")._value.get() == refused + 2, "once a change"

        fourth = authority.leaf("fourth", *NAMES)
        mounted.take(fourth)
        await until_shown(port, authority, serial_of(fourth))
        job = await old.job()
        assert (await old.submit(old.solve(job, 77)))["result"] is True
        assert not old.closed.is_set()
        assert (await edge.status()).accepted == 4


@on_both_loops
async def test_a_pair_that_is_not_usable_at_the_start_is_one_sentence(
    tmp_path: Path, authority: Authority
) -> None:
    good = authority.leaf("good", *NAMES)
    other = authority.leaf("other", *NAMES)
    text = tmp_path / "text.pem"
    text.write_text("not a certificate")
    locked = tmp_path / "locked.key"
    key = load_pem_private_key(good.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"secret")
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    spoilt = [
        TlsFiles(certificate=good.certificate, key=locked),
        TlsFiles(certificate=tmp_path / "missing.crt", key=good.key),
        TlsFiles(certificate=good.certificate, key=other.key),
        TlsFiles(certificate=text, key=good.key),
        TlsFiles(certificate=good.certificate, key=text),
    ]
    for files in spoilt:
        with pytest.raises(TlsUnusable, match=r"^listener secure: .* no usable pair: \S") as caught:
            await run(secured(edge_settings(tmp_path, PARAMS, NODE), files), Stop())
        assert "\n" not in str(caught.value)


@on_both_loops
async def test_peers_that_spoil_the_handshake_are_closed_and_harm_nobody(
    tmp_path: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_S", 0.5)
    before = {cause: failed(cause) for cause in ("protocol", "timeout", "closed")}
    async with (
        secure_edge(tmp_path, authority.leaf("edge", *NAMES)) as (edge, port),
        StratumClient(PARAMS, port, tls=trust(authority)) as honest,
    ):
        await mines(honest)
        plain_reader, plain = await asyncio.open_connection("127.0.0.1", port)
        plain.write(b'{"id":1,"method":"mining.subscribe","params":[]}\n')
        silent_reader, silent = await asyncio.open_connection("127.0.0.1", port)
        _, leaving = await asyncio.open_connection("127.0.0.1", port)
        leaving.close()
        with pytest.raises(ssl.SSLError):
            # It does not know the authority, and says so.
            await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
        assert b"pong" not in await asyncio.wait_for(plain_reader.read(), 5)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(silent_reader.read(), 5) == b""
        async with asyncio.timeout(5):
            while (await edge.status()).connections != 1:
                await asyncio.sleep(0.02)
        after = {cause: failed(cause) - count for cause, count in before.items()}
        assert after["timeout"] == 1
        assert after["protocol"] >= 1
        assert sum(after.values()) >= 3
        job = await honest.job()
        assert (await honest.submit(honest.solve(job, 9)))["result"] is True
        plain.close()
        silent.close()


@on_both_loops
async def test_limits_hold_before_the_handshake(tmp_path: Path, authority: Authority) -> None:
    limits = LimitSettings(connections_max=2)
    async with secure_edge(tmp_path, authority.leaf("edge", *NAMES), limits=limits) as (edge, port):
        # Two that never say anything hold two places, no more: the third is cut at once.
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        async with asyncio.timeout(5):
            while (await edge.status()).connections != 2:
                await asyncio.sleep(0.02)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 2) == b""
        for _, other in [*idle, (reader, writer)]:
            other.transport.abort()


@on_both_loops
async def test_a_tls_peer_that_never_reads_is_not_listened_to(
    tmp_path: Path, authority: Authority
) -> None:
    line = b'{"id":"' + b"x" * 250 + b'","method":"mining.ping"}\n'
    async with secure_edge(tmp_path, authority.leaf("edge", *NAMES)) as (edge, port):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust(authority), limit=1024
        )

        async def flood() -> None:
            while True:
                writer.write(line * 1000)
                await writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 1.5)
        assert not reader.at_eof()
        async with StratumClient(PARAMS, edge.port) as client:
            await mines(client)
        writer.transport.abort()


@on_both_loops
async def test_a_drain_says_reconnect_and_answers_before_it_closes(
    tmp_path: Path, authority: Authority
) -> None:
    async with (
        secure_edge(tmp_path, authority.leaf("edge", *NAMES)) as (edge, port),
        StratumClient(PARAMS, port, tls=trust(authority)) as client,
    ):
        await mines(client, 1)
        with socket.create_connection(("127.0.0.1", port)):
            # One in the middle of its handshake holds nothing up.
            edge.stop.ask()
            await client.until(
                lambda: any(note.get("method") == "client.reconnect" for note in client.notices)
            )
            job = await client.job()
            assert (await client.submit(client.solve(job, 5)))["result"] is True
            await asyncio.wait_for(client.closed.wait(), 5)
            async with asyncio.timeout(5):
                await edge.end()
        assert sum(len(batch.weight) for batch in await edge.batches()) == 2
