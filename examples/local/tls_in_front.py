"""TLS in front of a service that speaks plain HTTP, both on this laptop.

    python examples/local/tls_in_front.py 8743 8700 tokens.pem tokens.key

ends TLS at port 8743 and passes the bytes on to port 8700. In production a proxy does this.
"""

import asyncio
import contextlib
import ssl
import sys


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def main(tls_port: int, plain_port: int, certificate: str, key: str) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", plain_port)
            await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", tls_port, ssl=tls)
    await server.serve_forever()


if __name__ == "__main__":
    tls_port, plain_port, certificate, key = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(tls_port), int(plain_port), certificate, key))
