"""Workers on real sockets: what they do when the pool behaves, and when it does not."""

import asyncio
import datetime
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pithead.miner import worker as worker_module
from pithead.miner.endpoint import Endpoint
from pithead.miner.record import Answer, SubmitRecord
from pithead.miner.work import ALGORITHMS
from pithead.miner.worker import Worker, WorkerSpec
from tests.unit.miner.pool import SALT, TinyPool, job_of, line

pytestmark = pytest.mark.gate

LIMIT_S = 20.0


@asynccontextmanager
async def mining(
    port: int, *, hashrate: float = 4000.0, tls: bool = False, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Worker, list[SubmitRecord]]]:
    """A running worker and what it has recorded; stopped at the end."""
    records: list[SubmitRecord] = []
    spec = WorkerSpec("addr.rig", "x", hashrate)
    worker = Worker(Endpoint(host, port, tls), spec, ALGORITHMS["sha256d"], records.append)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker, records
    finally:
        stop.set()
        await asyncio.wait_for(task, LIMIT_S)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def test_all_shares_are_right_and_recorded_with_their_answer() -> None:
    async with TinyPool() as pool:
        async with mining(pool.port) as (worker, records):
            await until(lambda: len(pool.valid) >= 60)
        assert pool.wrong == []
        assert len(records) == len(pool.valid) == worker.tally.accepted
        assert {record.answer for record in records} == {Answer.TRUE}
        assert {record.salt for record in records} == {SALT}
        assert [
            ("addr.rig", r.job, r.extranonce2.hex(), f"{r.ntime:08x}", f"{r.nonce:08x}")
            for r in records
        ] == [submit[:5] for submit in pool.valid]
        assert worker.tally.connections == 1


async def test_refusals_are_counted_by_their_code() -> None:
    async with TinyPool() as pool:
        verdicts = [(True, None), (False, None), (None, [22, "duplicate share", None])]
        pool.verdict = lambda count: verdicts[count % 3]
        async with mining(pool.port) as (worker, records):
            await until(lambda: len(pool.valid) >= 30)
    assert worker.tally.submitted == len(records) == len(pool.valid)
    assert set(worker.tally.rejected) == {None, 22}
    assert {record.answer for record in records} == {Answer.TRUE, Answer.FALSE, Answer.ERROR}


async def test_a_new_job_replaces_the_old_one() -> None:
    async with TinyPool() as pool:
        async with mining(pool.port) as (_, records):
            await until(lambda: len(pool.valid) >= 5)
            pool.set_job(job_of(0x77, height=102))
            await until(lambda: any(record.job == "77" for record in records))
            pool.wrong.clear()
            await until(lambda: sum(record.job == "77" for record in records) >= 20)
        # A share may have crossed the job on its way, no more.
        assert set(pool.wrong) <= {"stale"}
        assert len(pool.wrong) < 20


async def test_unanswered_shares_are_reported_and_the_pool_is_dialled_again() -> None:
    async with TinyPool() as pool:
        pool.answers = False
        async with mining(pool.port) as (worker, records):
            await until(lambda: len(pool.valid) >= 5)
            pool.answers = True
            pool.drop()
            await until(lambda: worker.tally.accepted >= 5)
        assert pool.connections == worker.tally.connections == 2
        assert pool.wrong == []
        assert len(records) >= len(pool.valid)
        assert worker.tally.unanswered >= 5


async def test_a_pool_that_comes_later_is_found() -> None:
    pool = TinyPool()
    await pool.listen()
    await pool.stop()
    async with mining(pool.port) as (worker, _):
        await asyncio.sleep(0.3)
        assert worker.tally.connections == 0
        await pool.listen()
        await until(lambda: worker.tally.accepted)
    await pool.stop()


async def test_answers_that_are_out_are_awaited_before_following_a_reconnect() -> None:
    async with TinyPool() as pool, TinyPool() as other:
        order = line("client.reconnect", "", other.port, 0)
        pool.on_submit = lambda count: order if count == 10 else b""
        async with mining(pool.port) as (worker, records):
            await until(lambda: other.valid)
        assert len(records) == len(pool.valid) + len(other.valid)
        assert worker.tally.unanswered == 0
        assert pool.connections == other.connections == 1


async def test_a_foreign_address_is_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    async with TinyPool() as pool:
        order = line("client.reconnect", "evil.example", 3333, 0)
        pool.on_submit = lambda count: order if count == 5 else b""
        async with mining(pool.port) as (worker, _):
            await until(lambda: len(pool.valid) >= 20)
        assert worker.tally.connections == 1
    assert "not followed" in caplog.text


async def test_a_refused_login_mines_nothing_and_is_tried_again_slowly(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "BACKOFF_S_MAX", 0.2)
    caplog.set_level(logging.INFO)
    async with TinyPool() as pool:
        pool.login_error = [24, "unauthorized worker", None]
        async with mining(pool.port) as (worker, _):
            await until(lambda: pool.connections >= 2)
            assert worker.tally.hashes == 0
            pool.login_error = None
            await until(lambda: worker.tally.accepted)
    assert caplog.text.count("refused mining.authorize: unauthorized worker (code 24)") == 1


async def test_what_is_no_pool_is_left_and_dialled_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with TinyPool() as pool:
        pool.greeting = b"SSH-2.0-OpenSSH_9\r\n"
        async with mining(pool.port) as (worker, _):
            await until(lambda: pool.connections >= 2)
            pool.greeting = None
            await until(lambda: worker.tally.accepted)
    assert "does not speak Stratum" in caplog.text


async def test_a_pool_that_owes_answers_too_long_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "ANSWER_LIMIT_S", 0.1)
    caplog.set_level(logging.INFO)
    async with TinyPool() as pool:
        pool.answers = False
        async with mining(pool.port) as (worker, _):
            await until(lambda: pool.connections >= 2)
            pool.answers = True
        assert worker.tally.unanswered
    assert "does not answer submits" in caplog.text


async def test_a_silent_pool_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "SILENCE_LIMIT_S", 0.1)
    caplog.set_level(logging.INFO)
    async with TinyPool() as pool, mining(pool.port, hashrate=0.001):
        await until(lambda: pool.connections >= 2)
    assert "fell silent" in caplog.text


async def test_no_more_shares_are_sent_than_may_be_unanswered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "PENDING_MAX", 50)
    monkeypatch.setattr(worker_module, "FAREWELL_LIMIT_S", 0.05)
    async with TinyPool(weight=1) as pool:
        pool.answers = False
        async with mining(pool.port, hashrate=1000.0):
            await until(lambda: len(pool.valid) >= 50)
            count = len(pool.valid)
            await asyncio.sleep(0.2)
            # One slice of fifty may have been under way.
            assert count <= len(pool.valid) <= 100


async def test_a_stopped_worker_still_hears_its_answers() -> None:
    async with TinyPool(weight=1) as pool:
        async with mining(pool.port, hashrate=2000.0) as (worker, records):
            await until(lambda: pool.valid)
        assert worker.tally.unanswered == 0
        assert len(records) == len(pool.valid)


async def test_the_pool_may_speak_to_the_owner(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with TinyPool() as pool:
        pool.on_submit = lambda count: line("client.show_message", "welcome") if count == 1 else b""
        async with mining(pool.port):
            await until(lambda: len(pool.valid) >= 2)
    assert "the pool says: welcome" in caplog.text


async def test_an_encrypted_pool_is_mined_when_its_certificate_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with (
        TinyPool(tls=context) as pool,
        mining(pool.port, tls=True, host="localhost") as (worker, _),
    ):
        await until(lambda: "cannot be reached" in caplog.text)
        assert worker.tally.connections == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        await until(lambda: worker.tally.accepted)


def _certificate(directory: Path) -> Path:
    """Write a key and a self-signed certificate of localhost into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    path = directory / "pool.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return path
