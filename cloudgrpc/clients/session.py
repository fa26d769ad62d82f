"""A client's connection to a gateway, and where it keeps who is signed in.

<config folder>/cloudgrpc/          0700; $XDG_CONFIG_HOME or ~/.config
    sessions.json                   0600; gateway address -> e-mail and session token
    sessions.lock                   held while the file is changed, so that two shells lose nothing of each other
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar, cast

import grpc
import msgspec

from cloudgrpc import __version__, handshakes, rpc
from cloudgrpc.errors import CallTooSlow, GatewayUnreachable, LocalFile, Missing, NotOffered, SessionEnded
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb import cloud_storage_pb2_grpc as stubs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cloudgrpc.errors import CloudError

CALL_TIMEOUT_S = 10.0
TREE_TIMEOUT_S = 600.0  # for what touches a folder with all it holds in one transaction
MAIL_TIMEOUT_S = 60.0  # a gateway gives its mail server 20 s, or as long as its settings say
# A transfer has no deadline of its own; a gateway that does not even answer pings is given up after 45 s.
KEEPALIVE = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 15_000)]
# Without it every message of a download crosses a thread of its own.
ONE_THREAD = [("SingleThreadedUnaryStream", 1)]
# What a gateway may send before it is asked for; of two such options the first counts. Measured over a line with 100 ms
# there and back: 34 MiB/s, and 12 with the 1 MiB of everybody else.
AHEAD = [("grpc.http2.lookahead_bytes", 4 << 20)]

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class SignIn(msgspec.Struct, frozen=True):
    """Who is signed in at one gateway."""

    email: str
    session_token: str


class Gateway:
    """A connection to one gateway: every call has its deadline, every failure is an error of the catalogue.

    `tls`: None for plaintext. `on_met` is called once it has answered. `way_out`: for people, when it speaks no TLS.
    """

    def __init__(
        self,
        address: str,
        tls: rpc.Tls | None = None,
        *,
        on_met: Callable[[], object] = lambda: None,
        way_out: str = handshakes.WAY_OUT,
    ) -> None:
        self.address = address
        self._tls = tls
        self._on_met: Callable[[], object] | None = on_met
        self._way_out = way_out
        options = [*AHEAD, *rpc.CHANNEL_OPTIONS, *KEEPALIVE, *ONE_THREAD]
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, rpc.channel_credentials(tls), options=options)
        self._introduction = ((rpc.CLIENT_KEY, client_words(os.uname().nodename)),)
        self.auth = stubs.AuthServiceStub(self._channel)
        self.files = stubs.FileServiceStub(self._channel)
        # The three that carry files, with messages as they are on the wire: see `wire`.
        self.upload: grpc.StreamUnaryMultiCallable[bytes, pb.UploadFileResponse] = self._channel.stream_unary(
            "/cloudstorage.FileService/UploadFile", response_deserializer=pb.UploadFileResponse.FromString
        )
        self.download: grpc.UnaryStreamMultiCallable[pb.DownloadFileRequest, bytes] = self._channel.unary_stream(
            "/cloudstorage.FileService/DownloadFile", request_serializer=pb.DownloadFileRequest.SerializeToString
        )
        self.put_chunks: grpc.StreamUnaryMultiCallable[bytes, pb.PutChunksResponse] = self._channel.stream_unary(
            "/cloudstorage.UploadService/PutChunks", response_deserializer=pb.PutChunksResponse.FromString
        )
        self.storage = stubs.StorageServiceStub(self._channel)
        self.history = stubs.HistoryServiceStub(self._channel)
        self.sharing = stubs.SharingServiceStub(self._channel)
        self.uploads = stubs.UploadServiceStub(self._channel)
        self.payments = stubs.PaymentServiceStub(self._channel)
        self.admin = stubs.AdminServiceStub(self._channel)

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Reply],
        request: Request,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Reply:
        """Raises: the error the gateway told, GatewayUnreachable, or CallTooSlow."""
        try:
            reply = method(request, timeout=timeout_s, metadata=self._introduction)
        except grpc.RpcError as failure:
            raise self.error_of(failure) from failure
        self._met()
        return reply

    def is_serving(self, timeout_s: float) -> bool | None:
        """Whether it says that it can do all its work; None: something answers there that is no gateway.

        Raises: as `call`.
        """
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        service = f"{pb.DESCRIPTOR.package}.AuthService"
        stub = health_pb2_grpc.HealthStub(self._channel)
        try:
            self.call(stub.Check, health_pb2.HealthCheckRequest(service=service), timeout_s)
            whole = self.call(stub.Check, health_pb2.HealthCheckRequest(), timeout_s)
        except (Missing, NotOffered):
            return None
        return bool(whole.status == health_pb2.HealthCheckResponse.SERVING)

    def stream(self, method: grpc.UnaryStreamMultiCallable[Request, Reply], request: Request) -> Iterator[Reply]:
        """The replies, however long they take in all. Raises: as `call`, at any of them."""
        replies = method(request)
        try:
            yield from replies
        except grpc.RpcError as failure:
            raise self.error_of(failure) from failure
        finally:
            replies.cancel()

    def error_of(self, failure: grpc.RpcError) -> CloudError:
        call = cast("grpc.Call", failure)
        error = rpc.error_of(call, self.address)
        if isinstance(error, GatewayUnreachable):
            return self._why(call.details() or "") or error
        if not isinstance(error, CallTooSlow):
            self._met()
        return error

    def _met(self) -> None:
        """It was really the gateway: with TLS it has shown so before it could answer."""
        on_met, self._on_met = self._on_met, None
        if on_met:
            on_met()

    def _why(self, details: str) -> CloudError | None:
        """What keeps the two sides from agreeing, if that is why."""
        if not handshakes.is_worth_a_look(details):
            return None
        host, _, port = self.address.rpartition(":")
        return handshakes.look(host, int(port), self._tls, way_out=self._way_out)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """A gateway, and the token by which it knows the person."""

    def __init__(self, gateway: Gateway, token: str) -> None:
        self.gateway = gateway
        self.token = token

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Reply],
        request: Request,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Reply:
        return self.gateway.call(method, request, timeout_s)


class SessionStore:
    """Who is signed in where, kept between runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "sessions.json"

    def signed_in(self, address: str) -> SignIn:
        """Raises: SessionEnded when nobody is signed in at that gateway."""
        sign_in = self.known(address)
        if sign_in is None:
            raise SessionEnded
        return sign_in

    def known(self, address: str) -> SignIn | None:
        """None: nobody is signed in there."""
        return self._read().get(_key(address))

    def remember(self, address: str, sign_in: SignIn) -> None:
        with self._changing() as entries:
            entries[_key(address)] = sign_in

    def forget(self, address: str) -> None:
        with self._changing() as entries:
            entries.pop(_key(address), None)

    def _read(self) -> dict[str, SignIn]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, SignIn])
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # A damaged file holds no session that could be saved: it means signed out, and is replaced at the next
            # sign-in.
            return {}
        except OSError as error:
            raise _local(error, self._file) from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, SignIn]]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            with (self._folder / "sessions.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                entries = self._read()
                yield entries
                write_private(self._file, [msgspec.json.format(msgspec.json.encode(entries))])
        except OSError as error:
            raise _local(error, self._folder) from error


def write_private(path: Path, pieces: Iterable[bytes]) -> None:
    """Make or replace a file that only its owner can read; until all of it is on disk, `path` stays what it was.

    Raises: OSError.
    """
    # mkstemp makes the file 0600 from its first moment.
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:64]}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def client_words(host: str) -> str:
    """What the gateway is told about this program; metadata holds printable ASCII only."""
    told = f"shell {__version__} on {host}"
    return "".join(letter for letter in told if " " <= letter <= "~").strip()


def config_folder() -> Path:
    told = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says that a relative path must be ignored.
    base = Path(told) if told.startswith("/") else Path("~/.config").expanduser()
    return base / "cloudgrpc"


def _key(address: str) -> str:
    return address.strip().lower()


def _local(error: OSError, path: Path) -> LocalFile:
    return LocalFile(path=error.filename or path, reason=error.strerror or error)
