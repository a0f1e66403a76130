"""The columnar database behind charts: a ClickHouse server, or chdb inside the process.

Answers for how statements, inserts of columns and questions reach either of them, so
that callers write one text and gate what old servers lack by `Server`. Neither driver
is imported before its door is opened: chdb alone costs 0.4 CPU-s and 258 MB.
"""

from pithead.store.columnar.door import (
    Answer,
    Column,
    Columnar,
    ColumnarAway,
    ColumnarError,
    ColumnarMissing,
    ColumnarRefused,
    Params,
    Server,
    bound,
)

__all__ = [
    "Answer",
    "Column",
    "Columnar",
    "ColumnarAway",
    "ColumnarError",
    "ColumnarMissing",
    "ColumnarRefused",
    "Params",
    "Server",
    "bound",
]
