"""Logs and metrics of every process; knows no service.

Logs go to standard error, one line a record; metrics are prometheus-client
objects that each service defines beside the code that counts.
"""

import logging
import sys

CONTROLS = {
    ord(each): repr(each)[1:-1] for each in map(chr, (*range(32), *range(127, 160), 0x2028, 0x2029))
}
"""What would end a line or command a terminal, and how it is written instead."""


class OneLine(logging.Formatter):
    """Writes a record as one line: what miners, nodes and servers say can not pass for another.

    The traceback of a record follows on lines of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """As the library's, with control characters written out."""
        return super().formatMessage(record).translate(CONTROLS)


def configure_logging(service: str, *, verbose: bool = False) -> None:
    """Send log records to standard error as `time level service logger: message`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(f"%(asctime)s %(levelname)s {service} %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
