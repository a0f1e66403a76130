"""Upgrades of a small service package that is written for the test."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

import pithead
from pithead.store import (
    StoreTooNew,
    StoreTooOld,
    StoreUnreachable,
    check_version,
    open_store,
    reading,
    transaction,
)
from pithead.store.migrate import head, migrate, migrate_all
from tests.support.databases import DATABASES

pytestmark = pytest.mark.databases

REVISION = '''"""Revision."""
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = {down}
branch_labels = None
depends_on = None
def upgrade() -> None:
    op.create_table("table_{revision}", sa.Column("k", sa.Integer(), primary_key=True))
    {extra}
'''


def write_revision(package: Path, revision: str, down: str | None, extra: str = "pass") -> None:
    versions = package / "migrations" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    text_ = REVISION.format(revision=revision, down=repr(down), extra=extra)
    (versions / f"{revision}_some.py").write_text(text_)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    package = tmp_path / "sample_service"
    write_revision(package, "0001", None)
    return package


@pytest.fixture
async def url(tmp_path: Path) -> str:
    return await DATABASES.empty(tmp_path, "a")


async def tables(url: str) -> set[str]:
    engine = open_store(url)
    async with reading(engine) as connection:
        names = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    await engine.dispose()
    return names


async def test_upgrading_twice_is_the_same_as_once(package: Path, url: str) -> None:
    assert await migrate(url, "sample_service") == "0001"
    assert await migrate(url, "sample_service") == "0001"
    assert await tables(url) == {"alembic_version", "table_0001"}


async def test_two_upgrades_at_the_same_time_both_succeed(package: Path, url: str) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(migrate(url, "sample_service"))
    assert await tables(url) == {"alembic_version", "table_0001"}


async def test_an_older_database_gets_the_missing_revisions(package: Path, url: str) -> None:
    await migrate(url, "sample_service")
    write_revision(package, "0002", "0001")
    assert head("sample_service") == "0002"
    assert await migrate(url, "sample_service") == "0002"
    assert "table_0002" in await tables(url)


async def test_an_upgrade_that_fails_leaves_the_old_schema(package: Path, url: str) -> None:
    await migrate(url, "sample_service")
    write_revision(package, "0002", "0001", extra="raise RuntimeError('broken')")
    with pytest.raises(RuntimeError, match="broken"):
        await migrate(url, "sample_service")
    assert await tables(url) == {"alembic_version", "table_0001"}


async def test_an_upgrade_that_is_killed_leaves_the_old_schema(package: Path, url: str) -> None:
    await migrate(url, "sample_service")
    mark = package / "working"
    stuck = f"open({str(mark)!r}, 'w').close(); __import__('time').sleep(60)"
    write_revision(package, "0002", "0001", extra=stuck)
    code = (
        "import asyncio; from pithead.store.migrate import migrate; "
        f"asyncio.run(migrate({url!r}, 'sample_service'))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env={**os.environ, "PYTHONPATH": str(package.parent)}
    )
    async with asyncio.timeout(30):
        while not mark.exists():
            await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    assert await tables(url) == {"alembic_version", "table_0001"}
    write_revision(package, "0002", "0001")
    assert await migrate(url, "sample_service") == "0002"


async def test_a_newer_database_is_refused_and_unchanged(package: Path, url: str) -> None:
    write_revision(package, "0002", "0001")
    await migrate(url, "sample_service")
    (package / "migrations" / "versions" / "0002_some.py").unlink()
    before = await tables(url)
    with pytest.raises(StoreTooNew, match=r"revision 0002, newer .* \(0001\): upgrade pithead, or"):
        await migrate(url, "sample_service")
    assert await tables(url) == before


async def test_one_newer_database_keeps_all_others_from_being_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alpha", "beta"):
        write_revision(tmp_path / name, "0001", None)
    monkeypatch.setattr(pithead, "__path__", [*pithead.__path__, str(tmp_path)])
    urls = {name: await DATABASES.empty(tmp_path, name) for name in ("alpha", "beta")}
    assert await migrate_all(urls) == {"alpha": "0001", "beta": "0001"}
    write_revision(tmp_path / "alpha", "0002", "0001")
    engine = open_store(urls["beta"])
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0009'"))
    await engine.dispose()
    with pytest.raises(StoreTooNew):
        await migrate_all(urls)
    assert "table_0002" not in await tables(urls["alpha"])


async def test_a_service_refuses_any_other_revision(package: Path, url: str) -> None:
    engine = open_store(url)
    with pytest.raises(StoreTooOld, match="never set up"):
        await check_version(engine, "0001")
    await migrate(url, "sample_service")
    await check_version(engine, "0001")
    with pytest.raises(StoreTooOld, match=r"of revision 0001, this service needs 0002"):
        await check_version(engine, "0002")
    with pytest.raises(StoreTooNew):
        await check_version(engine, "0000")
    await engine.dispose()


@pytest.mark.gate
async def test_a_database_that_cannot_be_opened_says_why(package: Path, tmp_path: Path) -> None:
    missing = f"sqlite+aiosqlite:///{tmp_path / 'no' / 'a.db'}"
    with pytest.raises(StoreUnreachable, match=r"no/a\.db cannot be opened .* check that"):
        await migrate(missing, "sample_service")
    engine = open_store(missing)
    with pytest.raises(StoreUnreachable):
        await check_version(engine, "0001")
    await engine.dispose()


@pytest.mark.gate
async def test_services_start_without_alembic() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys, pithead.store; sys.exit('alembic' in sys.modules)",
    )
    assert await process.wait() == 0
