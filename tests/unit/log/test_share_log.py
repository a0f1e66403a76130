"""FileLog fits the protocol by its types; the type checker proves the assignments."""

from pathlib import Path

import pytest

from pithead.log.file_log import FileLog
from pithead.log.share_log import LogReader, LogRecord, LogWriter, ShareLog

pytestmark = pytest.mark.gate


async def test_a_file_log_is_a_share_log(tmp_path: Path) -> None:
    log: ShareLog = FileLog(tmp_path)
    writer: LogWriter = await log.writer("shares.p", "eu-0")
    reader: LogReader = log.reader("shares.p")
    end = await writer.append(b"x")
    assert await reader.read("eu-0", 0, 1) == [LogRecord(0, end, b"x")]
    await reader.close()
    await writer.close()
