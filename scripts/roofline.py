"""The roofline: the same bytes over the same hops in bare gRPC, with nothing else done, as fast as it gets in Python.

    upload     client ==1 MiB stream==> relay ==4 MiB unary==> as many sinks as there are copies
    download   client <==1 MiB stream== relay <==4 MiB unary== one source

Every box is a process of its own: grpc.aio on uvloop (the client synchronous, which is no slower), the product's
allocator and channel options, identity serializers. No file is read or written, nothing is hashed, parsed, stored or
flushed. One box alone: `roofline.py sink | relay SINK_PORT… | upload RELAY_PORT MIB | download RELAY_PORT MIB`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import grpc
import uvloop

from cloudgrpc import rpc
from cloudgrpc.clients.session import AHEAD
from cloudgrpc.core.chunking import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE = 1 << 20
CHUNK = CHUNK_BYTES
PIECES_IN_CHUNK = CHUNK // PIECE
IN_FLIGHT = 4  # chunks on their way at once; two and eight were tried and differ by less than the noise

PUT, GET, UP, DOWN = "/roofline/Put", "/roofline/Get", "/roofline/Up", "/roofline/Down"

Context = Any  # grpc.aio.ServicerContext, unused here
Call = Any  # a callable of grpc for bytes in and out; its types follow serializers, and there are none


class Handlers(grpc.GenericRpcHandler):
    """Methods by their path, with bytes in and bytes out."""

    def __init__(self, methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]]) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._methods.get(str(details.method))


async def serve(methods: dict[str, Any]) -> None:
    """Print the port, then answer until the process is ended."""
    server = grpc.aio.server(options=rpc.SERVER_OPTIONS)
    server.add_generic_rpc_handlers((Handlers(methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def channel(port: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=rpc.CHANNEL_OPTIONS)


async def sink() -> None:
    chunk = bytes(CHUNK)

    async def put(_data: bytes, _context: Context) -> bytes:
        return b""

    async def get(_request: bytes, _context: Context) -> bytes:
        return chunk

    await serve({PUT: grpc.unary_unary_rpc_method_handler(put), GET: grpc.unary_unary_rpc_method_handler(get)})


async def relay(ports: list[int]) -> None:
    channels = [channel(port) for port in ports]
    puts: list[Call] = [each.unary_unary(PUT) for each in channels]
    fetch: Call = channels[0].unary_unary(GET)

    async def up(pieces: AsyncIterator[bytes], _context: Context) -> bytes:
        in_flight: deque[asyncio.Future[Any]] = deque()
        held: list[bytes] = []
        async for piece in pieces:
            held.append(piece)
            if len(held) == PIECES_IN_CHUNK:
                chunk = b"".join(held)
                held.clear()
                in_flight.append(asyncio.gather(*(put(chunk) for put in puts)))
                if len(in_flight) == IN_FLIGHT:
                    await in_flight.popleft()
        await asyncio.gather(*in_flight)
        return b""

    async def down(request: bytes, _context: Context) -> AsyncIterator[bytes]:
        left = int(request)
        ahead: deque[Any] = deque(fetch(b"") for _ in range(min(IN_FLIGHT, left)))
        left -= len(ahead)
        while ahead:
            chunk = await ahead.popleft()
            if left:
                ahead.append(fetch(b""))
                left -= 1
            for start in range(0, CHUNK, PIECE):
                yield chunk[start : start + PIECE]

    await serve({UP: grpc.stream_unary_rpc_method_handler(up), DOWN: grpc.unary_stream_rpc_method_handler(down)})


def upload(port: int, mib: int) -> None:
    piece = bytes(PIECE)
    with _ready(port) as relay_channel:
        clock = Clock()
        call: Call = relay_channel.stream_unary(UP)
        call(piece for _ in range(mib))
        clock.tell(mib)


def download(port: int, mib: int) -> None:
    received = 0
    with _ready(port) as relay_channel:
        clock = Clock()
        call: Call = relay_channel.unary_stream(DOWN)
        for piece in call(b"%d" % (mib // PIECES_IN_CHUNK)):
            received += len(piece)
        clock.tell(received >> 20)


def _ready(port: int) -> grpc.Channel:
    """A client's channel; synchronous, which was as fast as grpc.aio here and costs a little less."""
    # Without the last option every message of a download crosses a thread of its own.
    options = [*AHEAD, *rpc.CHANNEL_OPTIONS, ("SingleThreadedUnaryStream", 1)]
    ready = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
    grpc.channel_ready_future(ready).result(timeout=10)
    return ready


class Clock:
    """Seconds and CPU-seconds of this process since it was made."""

    def __init__(self) -> None:
        self._started, self._cpu_s = time.perf_counter(), time.process_time()

    def tell(self, mib: int) -> None:
        mib_s = mib / (time.perf_counter() - self._started)
        print(f"{mib_s:.3f} {time.process_time() - self._cpu_s:.3f}", flush=True)


class Roofline:
    """A relay and its sinks as processes; measures one transfer at a time. Use as a context manager."""

    def __init__(self, copies: int) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        try:
            sinks = [self._start("sink") for _ in range(copies)]
            self._port = self._start("relay", *map(str, sinks))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Roofline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def measure(self, direction: str, mib: int) -> tuple[float, float]:
        """MiB a second, and the client's CPU-seconds. `direction` is "upload" or "download"."""
        ran = subprocess.run(
            [sys.executable, __file__, direction, str(self._port), str(mib)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        mib_s, cpu_s = ran.stdout.split()
        return float(mib_s), float(cpu_s)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _start(self, *words: str) -> int:
        process = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        return int(process.stdout.readline() if process.stdout else "")


def main(words: list[str]) -> None:
    rpc.tune_allocator()
    role, numbers = words[0], [int(word) for word in words[1:]]
    if role == "sink":
        uvloop.run(sink())
    elif role == "relay":
        uvloop.run(relay(numbers))
    else:
        {"upload": upload, "download": download}[role](*numbers)


if __name__ == "__main__":
    main(sys.argv[1:])
