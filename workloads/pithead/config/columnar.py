"""Answers for which columnar database settings mean."""

from pithead.config import ColumnarSettings, Unusable
from pithead.store.columnar import Columnar
from pithead.store.columnar.embedded import open_embedded
from pithead.store.columnar.server import Reach, open_server


async def open_columnar(settings: ColumnarSettings) -> Columnar:
    """Open the database. ColumnarMissing, ColumnarAway, ColumnarRefused; Unusable without one."""
    if settings.directory is not None:
        return await open_embedded(settings.directory)
    if settings.clickhouse is None:
        raise Unusable("the settings name no columnar database")
    server = settings.clickhouse
    return await open_server(
        Reach(
            host=server.host,
            port=server.port,
            database=server.database,
            user=server.user,
            password=server.password,
            secure=server.tls,
            ca=server.ca,
            connections=server.connections,
        )
    )
