"""Answers for requests to one API server: values in, decoded objects or our own errors out.

Sits on the client library's transport, which keeps the credential, TLS and the
connections. Every request has a time limit. Writes are counted, so that a
steady operator can be seen to send none.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
import msgspec
from kubernetes.aio.client import ApiClient

from pithead_operator import metrics
from pithead_operator.regions.errors import Expired, Unreachable, error_of
from pithead_operator.regions.kinds import Kind

Object = dict[str, Any]

MANAGER: Final = "pithead-operator"
"""Field manager of all that we apply but replicas."""
REPLICAS_MANAGER: Final = "pithead-replicas"
"""Field manager of spec.replicas, so that an autoscaler can take the field over."""

REQUEST_SECONDS_MAX = 15.0
PROBE_SECONDS_MAX = 5.0
WATCH_SECONDS = 240
"""Asked of the server; after it the watch starts again where it stood."""
PAGE_SIZE = 500
LINE_BYTES_MAX = 4 * 1024 * 1024
"""One watch event; etcd keeps objects below 1.5 MiB."""
ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""One answer: a page of large objects fits, and no cluster can fill our memory."""

BAD_ANSWERS = (
    aiohttp.ClientError,
    TimeoutError,
    OSError,
    msgspec.DecodeError,
    # Of brackets without end.
    RecursionError,
)
METADATA_ONE = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
PLAIN = "application/json"


class ClusterApi:
    """Requests to the API server of one cluster."""

    def __init__(self, client: ApiClient, cluster: str) -> None:
        """`cluster` is the name in errors; empty is the hub's own."""
        self._client = client
        self.cluster = cluster

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]  # generated code

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Read one object."""
        return await self._json("GET", kind.path(namespace, name))

    async def look(self, kind: Kind, namespace: str, name: str) -> None:
        """Raise NotFound unless an object is there; its content stays where it is."""
        await self._json("GET", kind.path(namespace, name), accept=METADATA_ONE)

    async def list(
        self, kind: Kind, namespace: str, selector: str = "", *, metadata_only: bool = False
    ) -> tuple[list[Object], str]:
        """All objects that carry the labels, and the resource version of the list."""
        items: list[Object] = []
        query = {"limit": str(PAGE_SIZE)} | ({"labelSelector": selector} if selector else {})
        accept = METADATA_LIST if metadata_only else PLAIN
        while True:
            page = await self._json("GET", kind.path(namespace), query=query, accept=accept)
            items += page.get("items") or []
            following = page["metadata"].get("continue")
            if not following:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = following

    async def watch(
        self, kind: Kind, namespace: str, selector: str, version: str, *, metadata_only: bool
    ) -> AsyncIterator[tuple[str, Object]]:
        """Changes after `version`, until the server ends the stream; raises Expired when too old.

        Yields ADDED, MODIFIED, DELETED and BOOKMARK with their objects.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        } | ({"labelSelector": selector} if selector else {})
        path = kind.path(namespace)
        # The server sends a bookmark about each minute, so silence means a dead connection.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SECONDS + 30)
        accept = METADATA_ONE if metadata_only else PLAIN
        response = await self._send("GET", path, query=query, accept=accept, timeout=timeout)
        try:
            if response.status != 200:
                raise await self._failure(response, "GET", path)
            async for line in _lines(response):
                event = msgspec.json.decode(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    code, answer = status.get("code", 500), str(status.get("message", ""))
                    # A watch that asks for a version of the future is as good as expired.
                    wrong = Expired if code == 504 else error_of(code)
                    raise wrong(self.cluster, f"watch {path}", answer)
                yield event["type"], event["object"]
        except BAD_ANSWERS as error:
            raise Unreachable(self.cluster, f"watch {path}", _text(error)) from error
        finally:
            response.close()

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Make an object that must not exist yet; raises Conflict when it does."""
        query = {"fieldManager": MANAGER}
        return await self._json("POST", kind.path(namespace), query=query, body=body)

    async def apply(
        self, kind: Kind, namespace: str, body: Object, *, manager: str, subresource: str = ""
    ) -> Object:
        """Server-side apply, taking fields over from other managers."""
        path = kind.path(namespace, body["metadata"]["name"], subresource)
        query = {"fieldManager": manager, "force": "true"}
        return await self._json(
            "PATCH", path, query=query, body=body, content="application/apply-patch+yaml"
        )

    async def merge(self, kind: Kind, namespace: str, name: str, body: Object) -> Object:
        """Merge patch, for lists that others write too; carries a resourceVersion to be safe."""
        query = {"fieldManager": MANAGER}
        path = kind.path(namespace, name)
        content = "application/merge-patch+json"
        return await self._json("PATCH", path, query=query, body=body, content=content)

    async def replace(self, kind: Kind, namespace: str, name: str, body: Object) -> Object:
        """Put the whole object; its resourceVersion must be the current one."""
        return await self._json("PUT", kind.path(namespace, name), body=body)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete this very object, its dependents after it; raises Conflict for another uid."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        await self._json("DELETE", kind.path(namespace, name), body=body)

    async def probe(self) -> None:
        """Raise unless the API server says that it is ready."""
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS_MAX)
        response = await self._send("GET", "/readyz", timeout=timeout)
        try:
            if response.status != 200:
                raise await self._failure(response, "GET", "/readyz")
        finally:
            response.release()

    async def uid(self) -> str:
        """UID of the cluster's kube-system namespace: what makes it this cluster."""
        found = await self._json("GET", "/api/v1/namespaces/kube-system", accept=METADATA_ONE)
        return str(found["metadata"]["uid"])

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        accept: str = PLAIN,
        content: str = PLAIN,
    ) -> Object:
        if method != "GET":
            metrics.WRITES.labels(self.cluster, method).inc()
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
        response = await self._send(
            method, path, query=query, body=body, accept=accept, content=content, timeout=timeout
        )
        try:
            if not 200 <= response.status < 300:
                raise await self._failure(response, method, path)
            return msgspec.json.decode(await _body(response), type=Object)
        except BAD_ANSWERS as error:
            raise Unreachable(self.cluster, f"{method} {path}", _text(error)) from error
        finally:
            response.release()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        accept: str = PLAIN,
        content: str = PLAIN,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the transport's own kind of limit
    ) -> aiohttp.ClientResponse:
        request = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._client.call_api(*request, _request_timeout=timeout)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(self.cluster, f"{method} {path}", _text(error)) from error
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _failure(self, response: aiohttp.ClientResponse, method: str, path: str) -> Exception:
        try:
            answer = str(msgspec.json.decode(await _body(response)).get("message", ""))
        except (*BAD_ANSWERS, AttributeError):
            answer = ""
        wrong = error_of(response.status)
        return wrong(self.cluster, f"{method} {path}", answer or f"HTTP status {response.status}")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The whole answer, when it is not too long."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError("the answer is too long")
    return bytes(body)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of a stream of any chunking; the reader's own limit is too small for our objects."""
    rest = b""
    async for chunk in response.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > LINE_BYTES_MAX:
            raise aiohttp.ClientPayloadError("an event is too long")
        await asyncio.sleep(0)


def _text(error: BaseException) -> str:
    """What went wrong on the way, as a sentence's end."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not signed by the CA of the kubeconfig, or is for another host"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
