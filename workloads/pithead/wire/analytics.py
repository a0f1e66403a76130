"""Brings the columnar database of charts to the newest version of its tables."""

from pithead.config import Unusable, WireAnalyticsSettings
from pithead.config.columnar import open_columnar
from pithead.process import Result, TaskFailed, until_there
from pithead.shares.analytics.ddl import VERSIONS
from pithead.store.columnar import ColumnarAway, ColumnarRefused
from pithead.store.columnar.migrate import ColumnarTooNew, migrate_columnar


async def make_analytics(settings: WireAnalyticsSettings, *, within_s: float) -> Result:
    """Return the version reached; raises TaskFailed, Unusable."""

    async def migrate() -> int:
        door = await open_columnar(settings.store)
        try:
            return await migrate_columnar(door, VERSIONS)
        finally:
            await door.close()

    try:
        return {"version": await until_there(migrate, _away, within_s)}
    except ColumnarRefused as error:
        # Whoever runs the server can mend it, with the same settings here.
        raise TaskFailed(str(error)) from error
    except ColumnarTooNew as error:
        raise Unusable(str(error)) from error


def _away(error: Exception) -> str:
    return str(error) if isinstance(error, ColumnarAway) else ""
