"""gRPC over TCP with certificates at both ends, on real sockets."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from pithead.config import PeerSettings, ServeSettings, TlsFiles, Unusable
from pithead.contracts import ledger_pb2, ledger_pb2_grpc
from pithead.rpc import channel, renewing, serve
from tests.support.certificates import Authority
from tests.support.litecoind import free_port

pytestmark = pytest.mark.gate

LIMIT_S = 5.0


class Echo(ledger_pb2_grpc.LedgerServicer):
    """A servicer that answers one unary and one streamed call."""

    def __init__(self) -> None:
        self.clients: list[list[bytes]] = []
        self.gate = asyncio.Event()

    async def Post(  # noqa: N802 - the contract's name
        self,
        request: ledger_pb2.Entry,
        context: grpc.aio.ServicerContext[ledger_pb2.Entry, ledger_pb2.PostReply],
    ) -> ledger_pb2.PostReply:
        self.clients.append([*context.auth_context().get("x509_pem_cert", ())])
        return ledger_pb2.PostReply(number=len(self.clients))

    async def Balances(  # noqa: N802 - the contract's name
        self,
        request: ledger_pb2.BalancesRequest,
        context: grpc.aio.ServicerContext[ledger_pb2.BalancesRequest, ledger_pb2.BalancesReply],
    ) -> ledger_pb2.BalancesReply:
        return ledger_pb2.BalancesReply()

    async def Entries(  # noqa: N802 - the contract's name
        self,
        request: ledger_pb2.EntriesRequest,
        context: grpc.aio.ServicerContext[ledger_pb2.EntriesRequest, ledger_pb2.Entry],
    ) -> AsyncIterator[ledger_pb2.Entry]:
        yield ledger_pb2.Entry(id="first")
        await self.gate.wait()
        yield ledger_pb2.Entry(id="last")


@asynccontextmanager
async def serving(tls: TlsFiles | None) -> AsyncIterator[tuple[str, Echo]]:
    address, echo = f"127.0.0.1:{free_port()}", Echo()
    settings = ServeSettings(address=address, tls=tls)
    async with serve(
        settings, lambda server: ledger_pb2_grpc.add_LedgerServicer_to_server(echo, server)
    ):
        yield address, echo


async def ask(address: str, tls: TlsFiles | None) -> int:
    async with channel(PeerSettings(address=address, tls=tls)) as opened:
        stub = ledger_pb2_grpc.LedgerStub(opened)
        return (await stub.Post(ledger_pb2.Entry(), timeout=LIMIT_S)).number


async def refused(address: str, tls: TlsFiles | None) -> bool:
    try:
        await ask(address, tls)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_both_ends_of_one_authority_talk(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.leaf("ledger", "127.0.0.1")
    client = authority.leaf("rewards", "pithead-rewards")
    async with serving(server) as (address, echo):
        assert await ask(address, client) == 1
        assert echo.clients == [[client.certificate.read_bytes()]]


async def test_client_of_another_authority_is_refused(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    # It knows our authority, so that it is the server who refuses.
    stranger = theirs.leaf("rewards", "pithead-rewards", ca=ours.file)
    async with serving(ours.leaf("ledger", "127.0.0.1")) as (address, echo):
        assert await refused(address, stranger)
        assert echo.clients == []


async def test_server_of_another_authority_is_refused(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    impostor = theirs.leaf("ledger", "127.0.0.1", ca=ours.file)
    async with serving(impostor) as (address, echo):
        assert await refused(address, ours.leaf("rewards", "pithead-rewards"))
        assert echo.clients == []


async def test_server_of_another_name_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(authority.leaf("shares", "pithead-shares")) as (address, _):
        assert await refused(address, authority.leaf("rewards", "pithead-rewards"))


async def test_client_without_a_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(authority.leaf("ledger", "127.0.0.1")) as (address, echo):
        bare = grpc.ssl_channel_credentials(authority.file.read_bytes())
        async with grpc.aio.secure_channel(address, bare) as opened:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ledger_pb2_grpc.LedgerStub(opened).Post(ledger_pb2.Entry(), timeout=LIMIT_S)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await refused(address, None)
        assert echo.clients == []


async def test_renewed_certificates_count_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "LOOK_S", 0.0)
    old = Authority(tmp_path / "old")
    files = tmp_path / "files"
    server = old.leaf("ledger", "127.0.0.1")
    client = old.leaf("rewards", "pithead-rewards")
    shutil.copytree(tmp_path / "old", files)
    moved = [
        TlsFiles(certificate=files / f"{who}.crt", key=files / f"{who}.key", ca=files / "ca.crt")
        for who in ("ledger", "rewards")
    ]
    async with (
        serving(moved[0]) as (address, echo),
        channel(PeerSettings(address=address, tls=moved[1])) as opened,
    ):
        stub = ledger_pb2_grpc.LedgerStub(opened)
        await stub.Post(ledger_pb2.Entry(), timeout=LIMIT_S)
        under_way = aiter(stub.Entries(ledger_pb2.EntriesRequest()))
        assert (await anext(under_way)).id == "first"
        new = Authority(tmp_path / "new")
        server, client = new.leaf("ledger", "127.0.0.1"), new.leaf("rewards", "pithead-rewards")
        for each in (server.certificate, server.key, client.certificate, client.key, new.file):
            shutil.copy(each, files)
        await stub.Post(ledger_pb2.Entry(), timeout=LIMIT_S)
        echo.gate.set()
        assert (await anext(under_way)).id == "last", "a call under way ends on the old connection"
    assert echo.clients[1] == [client.certificate.read_bytes()]
    assert echo.clients[0] != echo.clients[1]


async def test_files_that_go_away_leave_the_connection_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "LOOK_S", 0.0)
    authority = Authority(tmp_path)
    server = authority.leaf("ledger", "127.0.0.1")
    client = authority.leaf("rewards", "pithead-rewards")
    async with (
        serving(server) as (address, _),
        channel(PeerSettings(address=address, tls=client)) as opened,
    ):
        stub = ledger_pb2_grpc.LedgerStub(opened)
        await stub.Post(ledger_pb2.Entry(), timeout=LIMIT_S)
        for file in (server.key, client.key):
            file.unlink()
        assert (await stub.Post(ledger_pb2.Entry(), timeout=LIMIT_S)).number == 2


async def test_loopback_needs_no_certificates() -> None:
    async with serving(None) as (address, _):
        assert await ask(address, None) == 1


async def test_missing_file_is_named(tmp_path: Path) -> None:
    files = TlsFiles(certificate=tmp_path / "a.crt", key=tmp_path / "a.key", ca=tmp_path / "ca")
    with pytest.raises(Unusable, match=r"a\.key: No such file"):
        channel(PeerSettings(address="ledger:1", tls=files))
    with pytest.raises(Unusable, match=r"a\.key: No such file"):
        async with serve(ServeSettings(address="127.0.0.1:0", tls=files), lambda _: None):
            pass
