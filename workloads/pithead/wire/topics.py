"""Makes the topics of the share log in Kafka."""

from pithead.config import WireTopicsSettings
from pithead.log.errors import LogError, LogUnavailable
from pithead.log.topics_admin import ensure_topics
from pithead.process import Result, TaskFailed, until_there


async def make_topics(settings: WireTopicsSettings, *, within_s: float) -> Result:
    """Return the partitions of each topic; raises TaskFailed."""

    async def ensure() -> dict[str, int]:
        return await ensure_topics(settings.kafka, settings.topics)

    try:
        return {"topics": await until_there(ensure, _away, within_s)}
    except LogError as error:
        # Whoever runs the brokers can mend it, with the same settings here.
        raise TaskFailed(str(error)) from error


def _away(error: Exception) -> str:
    return str(error) if isinstance(error, LogUnavailable) else ""
