"""Logs and metrics of every process; knows no service.

Logs go to standard error, one line a record; metrics are prometheus-client
objects that each service defines beside the code that counts.
"""

import logging
import sys


def configure_logging(service: str, *, verbose: bool = False) -> None:
    """Send log records to standard error as `time level service logger: message`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)s {service} %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
