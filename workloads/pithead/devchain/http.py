"""JSON-RPC over HTTP: authentication, decoding, dispatch, faults, encoding.

Statuses are litecoind's: 401 without an answer for wrong credentials, 500 with an error object for
a refused call, 404 for an unknown method or path, 400 for what is no request. Amounts are written
as JSON numbers with eight places. A step that could not be made durable ends the process.
"""

import asyncio
import hmac
import json
import logging
from base64 import b64encode
from collections.abc import Awaitable
from decimal import Decimal
from inspect import isawaitable
from typing import Any

import msgspec
from aiohttp import web

from pithead.devchain import rpc_chain, rpc_mining, rpc_wallet
from pithead.devchain.faults import hits
from pithead.devchain.rpc import (
    INVALID_PARAMETER,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISC_ERROR,
    PARSE_ERROR,
    Context,
    Method,
    RpcError,
    mapping_of,
)
from pithead.devchain.state import StoreFailed

logger = logging.getLogger(__name__)

REQUEST_BYTES_MAX = 32 * 1024 * 1024
"""A block of 4,000,000 bytes is 8 MB of hex; four of it leave room."""

BATCH_MAX = 1000

_encoder = msgspec.json.Encoder(decimal_format="number")


def devchain_fault(context: Context, params: Any) -> None:
    """See `pithead.devchain.faults`."""
    try:
        context.faults.replace(mapping_of(params[0] if params else {}, "fault"), context.now_ms())
    except ValueError as error:
        raise RpcError(INVALID_PARAMETER, str(error)) from error
    context.announce()


def stop(context: Context, _params: Any) -> str:
    """End the node."""
    context.stop.set()
    context.announce()
    return "Devchain stopping"


METHODS: dict[str, Method] = {
    **rpc_chain.METHODS,
    **rpc_mining.METHODS,
    **rpc_wallet.METHODS,
    "devchain_fault": devchain_fault,
    "stop": stop,
}


class _Hang(Exception):
    """Raised to leave a request without an answer."""


class Door:
    """The HTTP handler of one node."""

    def __init__(self, context: Context, user: str, password: str) -> None:
        self.context = context
        self.failure: StoreFailed | None = None
        """Set when the node may not go on."""
        self._credentials = b"Basic " + b64encode(f"{user}:{password}".encode())

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=REQUEST_BYTES_MAX)
        application.router.add_post("/", self.handle)
        application.router.add_post("/wallet/{wallet}", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one HTTP request."""
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, self._credentials):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="jsonrpc"'})
        try:
            body = json.loads(await request.read(), parse_float=Decimal)
        except (ValueError, RecursionError):
            error = {"code": PARSE_ERROR, "message": "Parse error"}
            return _response(500, {"result": None, "error": error, "id": None})
        wallet = request.match_info.get("wallet")
        try:
            if isinstance(body, list):
                answers = [(await self._answer(one, wallet))[1] for one in body[:BATCH_MAX]]
                return _response(200, answers)
            status, answer = await self._answer(body, wallet)
        except _Hang:
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=503)
        method = str(body.get("method")) if isinstance(body, dict) else ""
        plan = self.context.faults.plan(self.context.now_ms())
        if hits(plan.garble, method):
            whole = _encoder.encode(answer)
            return web.Response(
                status=status, body=whole[: len(whole) // 2], content_type="application/json"
            )
        return _response(status, answer)

    async def _answer(self, body: object, wallet: str | None) -> tuple[int, dict[str, Any]]:
        identity = body.get("id") if isinstance(body, dict) else None
        try:
            result = await self._call(body, wallet)
        except RpcError as error:
            status = {INVALID_REQUEST: 400, METHOD_NOT_FOUND: 404}.get(error.code, 500)
            shown = {"code": error.code, "message": error.message}
            return status, {"result": None, "error": shown, "id": identity}
        return 200, {"result": result, "error": None, "id": identity}

    async def _call(self, body: object, wallet: str | None) -> object:
        if not isinstance(body, dict) or not isinstance(body.get("method"), str):
            raise RpcError(INVALID_REQUEST, "Invalid Request object")
        name, params = body["method"], body.get("params") or []
        if not isinstance(params, list):
            raise RpcError(INVALID_PARAMETER, "parameters are taken by position, as a list")
        await self._meet_faults(name)
        method = METHODS.get(name)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")
        if hits(self.context.faults.plan(self.context.now_ms()).swallow, name):
            return None
        self.context.wallet = wallet
        try:
            result = method(self.context, params)
            return await _settled(result) if isawaitable(result) else result
        except StoreFailed as error:
            self.failure = error
            logger.critical("the chain cannot be written, the node ends: %s", error)
            self.context.stop.set()
            self.context.announce()
            raise RpcError(MISC_ERROR, f"the chain cannot be written: {error}") from error

    async def _meet_faults(self, name: str) -> None:
        context = self.context
        plan = context.faults.plan(context.now_ms())
        if plan.delay_ms:
            await asyncio.sleep(plan.delay_ms / 1000)
        while hits(context.faults.plan(context.now_ms()).hang, name):
            if context.stop.is_set():
                raise _Hang
            await asyncio.sleep(0.02)
        if hits(plan.drop, name):
            raise _Hang
        if hits(plan.refuse, name):
            raise RpcError(MISC_ERROR, f"{name} is refused by devchain_fault")


async def _settled(result: Awaitable[object]) -> object:
    return await result


def _response(status: int, answer: object) -> web.Response:
    return web.Response(
        status=status, body=_encoder.encode(answer), content_type="application/json"
    )
