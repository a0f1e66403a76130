"""What of the log can be booked for a pool, and why the rest cannot. Pure."""

from dataclasses import dataclass

from pithead.log.codec import BatchError
from pithead.log.columns import Columns, decode_columns
from pithead.log.share_log import LogRecord
from pithead.shares.fold import BATCH_WEIGHT_MAX, batch_weight
from pithead.shares.states import INT63_MAX


@dataclass(frozen=True, slots=True)
class Read:
    """One record of a partition; `columns` or, for one to be set aside, `fault`."""

    partition: str
    record: LogRecord
    columns: Columns | None
    fault: str = ""
    weight: int = 0

    @property
    def moment_ms(self) -> int:
        """When the log took it; by its producer's own clock where the log keeps no time."""
        if self.record.appended_ms is not None or self.columns is None:
            return self.record.appended_ms or 0
        return int(self.columns.batch.time_base_ms)


def examine(partition: str, record: LogRecord, pool: str, coin: str) -> Read:
    """Decode a record and check that it is this pool's and plausible."""
    try:
        columns = decode_columns(record.payload)
        weight = batch_weight(columns)
        _check(columns, weight, pool, coin)
    except BatchError as error:
        return Read(partition, record, None, str(error))
    return Read(partition, record, columns, weight=weight)


def _check(columns: Columns, weight: int, pool: str, coin: str) -> None:
    batch = columns.batch
    if batch.pool != pool:
        raise BatchError("pool", f"expected {pool}, got {batch.pool}")
    if batch.coin != coin:
        raise BatchError("coin", f"expected {coin}, got {batch.coin}")
    if batch.sequence > INT63_MAX - 1:
        raise BatchError("sequence", f"{batch.sequence} is above {INT63_MAX - 1}")
    if weight > BATCH_WEIGHT_MAX:
        raise BatchError("weight", f"{weight} in one batch, at most {BATCH_WEIGHT_MAX} is believed")
