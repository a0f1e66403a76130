"""Answers for which share log settings mean."""

from pithead.config import LogSettings, Unusable
from pithead.log.file_log import FileLog
from pithead.log.kafka_log import KafkaLog
from pithead.log.share_log import ShareLog


def open_log(settings: LogSettings) -> ShareLog:
    """Return the log; nothing is opened or made before its first use. Raises Unusable."""
    if settings.kafka is not None:
        return KafkaLog(settings.kafka)
    if settings.directory is None:
        raise Unusable("the settings name no share log")
    return FileLog(settings.directory)
