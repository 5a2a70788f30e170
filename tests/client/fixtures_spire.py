"""A SPIFFE Workload API: its real gRPC contract on a real socket, without an agent behind it."""

from __future__ import annotations

import contextlib
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
from spiffe._proto import workload_pb2, workload_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """Gives the workload `spiffe_id` what `svid` makes for an audience; None is a refusal."""

    def __init__(self, spiffe_id: str, svid: Callable[[str], str | None]) -> None:
        self._spiffe_id = spiffe_id
        self._svid = svid
        self.asked: list[list[str]] = []

    def FetchJWTSVID(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        # The specification's guard against being asked through a browser or a proxy.
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no security header")
        self.asked.append(list(request.audience))
        svid = self._svid(request.audience[0])
        if svid is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        assert svid is not None  # abort raises
        one = workload_pb2.JWTSVID(spiffe_id=self._spiffe_id, svid=svid)
        return workload_pb2.JWTSVIDResponse(svids=[one])


@contextlib.contextmanager
def workload_api(folder: Path, agent: Agent) -> Iterator[str]:
    """Serve it at a Unix socket; yields SPIFFE_ENDPOINT_SOCKET."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(agent, server)  # type: ignore[no-untyped-call]
    address = f"unix://{folder / 'agent.sock'}"
    assert server.add_insecure_port(address)
    server.start()
    try:
        yield address
    finally:
        server.stop(None).wait()
