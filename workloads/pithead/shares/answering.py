"""How the contract tells of a database that cannot be asked."""

import logging
from typing import NoReturn, TypeVar

import grpc
import grpc.aio
from sqlalchemy.exc import DBAPIError

logger = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


async def away(context: grpc.aio.ServicerContext[RequestT, ReplyT], error: DBAPIError) -> NoReturn:
    """End a call: the asker may try again."""
    reason = str(error.orig)[:256]
    logger.error("database: %s", reason)
    await context.abort(grpc.StatusCode.UNAVAILABLE, f"accounting's database: {reason}")
