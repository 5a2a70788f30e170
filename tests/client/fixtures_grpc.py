"""A billing service over gRPC on a TLS port of loopback: sync and aio, all four kinds of RPC."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from client.fixtures_requesting import certificate
from grpc import aio

from ephemera_client.grpc import access_token

SERVICE = "billing.Invoices"
READ, WRITE = "invoices:read", "invoices:write"
ACCEPTED = (("accepted", "yes"),)
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def method(name: str) -> str:
    return f"/{SERVICE}/{name}"


class Billing:
    """Each answers who calls; the `seen` are the messages that came as far as a handler."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def unary_unary(self, request: bytes, _: Any) -> bytes:
        self.seen.append(request)
        return access_token().client_id.encode()

    def unary_stream(self, request: bytes, _: Any) -> Iterator[bytes]:
        self.seen.append(request)
        for _number in range(2):
            yield access_token().client_id.encode()

    def stream_unary(self, requests: Iterator[bytes], _: Any) -> bytes:
        self.seen.extend(requests)
        return access_token().client_id.encode()

    def stream_stream(self, requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for request in requests:
            self.seen.append(request)
            yield access_token().client_id.encode()

    def write(self, _request: bytes, _: Any) -> bytes:
        access_token().require(WRITE)
        return b"written"

    def write_later(self, _request: bytes, _: Any) -> Iterator[bytes]:
        yield b"one"
        access_token().require(WRITE)

    def open(self, _request: bytes, _: Any) -> bytes:
        return b"open"


class AsyncBilling:
    """The same, awaited."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def unary_unary(self, request: bytes, _: Any) -> bytes:
        self.seen.append(request)
        await asyncio.sleep(0)
        return access_token().client_id.encode()

    async def unary_stream(self, request: bytes, _: Any) -> AsyncIterator[bytes]:
        self.seen.append(request)
        for _number in range(2):
            yield access_token().client_id.encode()

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        await context.send_initial_metadata(ACCEPTED)
        async for request in requests:
            self.seen.append(request)
        return access_token().client_id.encode()

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        # The other way to answer a stream: by the context, without yielding.
        await context.send_initial_metadata(ACCEPTED)
        async for request in requests:
            self.seen.append(request)
            await context.write(access_token().client_id.encode())

    async def write(self, _request: bytes, _: Any) -> bytes:
        access_token().require(WRITE)
        return b"written"

    async def write_later(self, _request: bytes, _: Any) -> AsyncIterator[bytes]:
        yield b"one"
        access_token().require(WRITE)

    async def open(self, _request: bytes, _: Any) -> bytes:
        return b"open"


def handlers(billing: Any) -> Any:
    made: dict[str, Any] = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(billing, kind)) for kind in KINDS
    }
    made["write"] = grpc.unary_unary_rpc_method_handler(billing.write)
    made["write_later"] = grpc.unary_stream_rpc_method_handler(billing.write_later)
    made["open"] = grpc.unary_unary_rpc_method_handler(billing.open)
    return grpc.method_handlers_generic_handler(SERVICE, made)


class Tls:
    """Credentials of a server, and of the channels that trust it and no other."""

    def __init__(self, folder: Path) -> None:
        made = certificate(folder)
        pem = (folder / "server.pem").read_bytes()
        self.server = grpc.ssl_server_credentials([(pem, made.file.read_bytes())])
        self.channel = grpc.ssl_channel_credentials(made.file.read_bytes())


@contextlib.contextmanager
def serving(tls: Tls, *interceptors: Any) -> Iterator[tuple[str, Billing]]:
    billing = Billing()
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, interceptors=list(interceptors))
        server.add_generic_rpc_handlers((handlers(billing),))
        port = server.add_secure_port("127.0.0.1:0", tls.server)
        server.start()
        try:
            yield f"127.0.0.1:{port}", billing
        finally:
            server.stop(None).wait()


@contextlib.asynccontextmanager
async def serving_async(tls: Tls, *interceptors: Any) -> AsyncIterator[tuple[str, AsyncBilling]]:
    billing = AsyncBilling()
    server = aio.server(interceptors=interceptors)
    server.add_generic_rpc_handlers((handlers(billing),))
    port = server.add_secure_port("127.0.0.1:0", tls.server)
    await server.start()
    try:
        yield f"127.0.0.1:{port}", billing
    finally:
        await server.stop(None)


def call(channel: grpc.Channel, name: str, *tokens: str, kind: str = "") -> Any:
    """Make an RPC whose metadata have these tokens, and return all that it answers.

    A stream's messages are never sent: who refuses does not wait for one.
    """
    kind = kind or (name if name in KINDS else "unary_unary")
    metadata = [("authorization", f"Bearer {token}") for token in tokens]
    make: Callable[..., Any] = getattr(channel, kind)
    request: Any = iter([b"1", b"2"]) if kind.startswith("stream") else b"1"
    answer = make(method(name))(request, metadata=metadata, timeout=20)
    return list(answer) if kind.endswith("stream") else answer


async def call_async(channel: aio.Channel, name: str, *tokens: str, kind: str = "") -> Any:
    """Do as `call`, but messages of a stream are sent when the server has accepted it.

    What the aio client sends after a server has ended a stream puts an error of its own over the
    status (https://github.com/grpc/grpc/issues/36066).
    """
    kind = kind or (name if name in KINDS else "unary_unary")
    metadata = tuple(("authorization", f"Bearer {token}") for token in tokens)
    make: Callable[..., Any] = getattr(channel, kind)
    if kind.startswith("stream"):
        answer = make(method(name))(metadata=metadata, timeout=20)
        if "accepted" in await answer.initial_metadata():
            for message in (b"1", b"2"):
                await answer.write(message)
            await answer.done_writing()
    else:
        answer = make(method(name))(b"1", metadata=metadata, timeout=20)
    if kind.endswith("stream"):
        return [message async for message in answer]
    return await answer
