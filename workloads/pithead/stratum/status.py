"""The Edge gRPC service: what this process tells about itself."""

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

import grpc.aio

from pithead.coins.weight import difficulty_of_weight
from pithead.contracts import edge_pb2, edge_pb2_grpc
from pithead.contracts.share_log_pb2 import RejectReason
from pithead.stratum.backlog import Backlog
from pithead.stratum.edge import Edge
from pithead.stratum.rates import Rates


class Health(Protocol):
    """One node's state; `pithead.coins.nodeset.NodeHealth` is one."""

    name: str
    healthy: bool
    height: int
    trouble: str


class EdgeStatus(edge_pb2_grpc.EdgeServicer):
    """Answers Status; reads the edge and changes nothing."""

    def __init__(
        self,
        edge: Edge,
        rates: Rates,
        producer: bytes,
        nodes: Callable[[], Sequence[Health]],
        trouble: Callable[[], str],
        backlog: Callable[[], Backlog],
    ) -> None:
        self._edge = edge
        self._rates = rates
        self._producer = producer
        self._nodes = nodes
        self._trouble = trouble
        self._backlog = backlog

    async def Status(  # noqa: N802 - the contract's name
        self,
        request: edge_pb2.StatusRequest,
        context: grpc.aio.ServicerContext[edge_pb2.StatusRequest, edge_pb2.StatusReply],
    ) -> edge_pb2.StatusReply:
        """Return the present figures."""
        edge = self._edge
        rejected = edge.rejected
        trouble = self._trouble()
        backlog = self._backlog()
        current = edge.book.current
        reply = edge_pb2.StatusReply(
            pool=edge.settings.pool,
            region=edge.settings.region,
            producer=str(UUID(bytes=self._producer)),
            ready=not trouble,
            trouble=trouble,
            connections=len(edge.miners),
            authorised=len(edge.fan_out.authorized),
            hashrate=self._rates.total(),
            accepted=edge.batcher.accepted,
            stale=rejected[RejectReason.REJECT_STALE],
            duplicate=rejected[RejectReason.REJECT_DUPLICATE],
            low=rejected[RejectReason.REJECT_LOW],
            invalid=rejected[RejectReason.REJECT_INVALID]
            + rejected[RejectReason.REJECT_UNAUTHORIZED],
            height=current.template.height if current is not None else 0,
            degraded=backlog.degraded,
            spool_bytes=backlog.bytes,
            spool_batches=backlog.records,
        )
        for node in self._nodes():
            reply.nodes.add(
                name=node.name, healthy=node.healthy, height=node.height, trouble=node.trouble
            )
        weights = edge.shown_weights()
        for rate in self._rates.strongest():
            weight = weights.get(rate.login, 0)
            reply.workers.add(
                login=rate.login.text,
                hashrate=rate.hashes_per_s,
                difficulty=difficulty_of_weight(weight, edge.params) if weight else 0.0,
            )
        return reply
