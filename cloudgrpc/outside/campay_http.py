"""One HTTP exchange with Campay: over a connection of its own, within one deadline, and it knows whether anything went
out.

Nothing is kept alive between exchanges. A request on a connection that Campay has just closed would fail without a
word on whether it was read, and the usual answer to that, sending it again, may charge a person twice.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from cloudgrpc import __version__
from cloudgrpc.errors import SettingsWrong
from cloudgrpc.outside.campay_answers import Answer, Unanswered
from cloudgrpc.outside.held_line import HeldLine

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from urllib3 import PoolManager

    from cloudgrpc.sales import Campay as Settings

MOST_BYTES = 1 << 20  # of an answer; a month's history is some hundred KiB
READ_BYTES = 1 << 16


class Http:
    """Blocking; for several threads. Raises: SettingsWrong when the certificates to trust cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.api_url
        self._timeout_s = settings.timeout_s
        self._trust = _trust(settings.ca_file)
        # The sandbox is on this machine, where no proxy has a place.
        self._proxies = {} if settings.mode == "sandbox" else get_environ_proxies(self._url)
        self._lines: set[Line] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self.date = ""  # of the newest answer, as its server told it

    def exchange(self, method: str, path: str, token: str = "", body: Mapping[str, str] | None = None) -> Answer:
        """`path`: with its slashes. Redirects are answers, too. Raises: Unanswered."""
        with self._line() as line, requests.Session() as session:
            # Else a .netrc would replace our token by its password.
            session.trust_env = False
            session.mount("https://", _Adapter(line))
            session.mount("http://", _Adapter(line))
            try:
                with session.send(self._request(session, method, path, token, body), **self._manner()) as response:
                    self.date = response.headers.get("Date", "")
                    return _answer(response, line)
            except Exception as error:  # noqa: BLE001 - whatever broke, and in whose code: money may be moving
                raise Unanswered(line.reason(error), was_sent=line.is_connected) from None

    def close(self) -> None:
        """End what is under way; nothing can be asked any more."""
        with self._lock:
            self._is_closed = True
            lines = tuple(self._lines)
        for line in lines:
            line.cut("the gateway is stopping")

    def _request(
        self, session: requests.Session, method: str, path: str, token: str, body: Mapping[str, str] | None
    ) -> requests.PreparedRequest:
        headers = {"User-Agent": f"cloudgrpc/{__version__}", "Accept": "application/json", "Connection": "close"}
        if token:
            headers["Authorization"] = f"Token {token}"
        return session.prepare_request(requests.Request(method, self._url + path, headers=headers, json=body))

    def _manner(self) -> dict[str, Any]:
        return {
            "timeout": self._timeout_s,
            "verify": self._trust,
            "proxies": self._proxies,
            "allow_redirects": False,
            "stream": True,
        }

    @contextlib.contextmanager
    def _line(self) -> Iterator[Line]:
        line = Line(self._timeout_s)
        with self._lock:
            if self._is_closed:
                raise Unanswered("the gateway is stopping", was_sent=False)
            self._lines.add(line)
        deadline = threading.Timer(self._timeout_s, line.cut, [f"not done within {self._timeout_s:g} s"])
        deadline.daemon = True
        deadline.start()
        try:
            yield line
        finally:
            deadline.cancel()
            line.let_go()
            with self._lock:
                self._lines.discard(line)


class Line(HeldLine):
    """The connection of one exchange."""

    is_connected = False  # with TLS, and through a proxy: only after that a request goes out

    def reason(self, error: BaseException) -> str:
        """In words why the exchange failed: the first cause, since those above it quote addresses of objects."""
        while deeper := error.__cause__ or error.__context__:
            error = deeper
        if self.cut_for or isinstance(error, TimeoutError):
            return self.cut_for or f"not done within {self.timeout_s:g} s"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {error.verify_message}"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        return str(error) or type(error).__name__


class _Adapter(HTTPAdapter):
    """requests' own, over the connection that its exchange opens; it sends nothing twice."""

    def __init__(self, line: Line) -> None:
        self._line = line  # first: the constructor asks for the pools
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *told: Any, **named: Any) -> None:
        super().init_poolmanager(*told, **named)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, *told: Any, **named: Any) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(*told, **named)
        self._watch(manager)
        return manager

    def _watch(self, manager: PoolManager) -> None:
        pools: Any = {"http": partial(_plain_pool, self._line), "https": partial(_secure_pool, self._line)}
        manager.pool_classes_by_scheme = pools


class _Watched:
    """Part of a connection: its socket is the line's, and it tells the line when it stands."""

    line: Line
    _dns_host: str
    port: int

    def _new_conn(self) -> socket.socket:
        return self.line.open(self._dns_host, self.port)

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.line.is_connected = True


class _Plain(_Watched, HTTPConnection):
    def __init__(self, line: Line, *told: Any, **named: Any) -> None:
        self.line = line
        super().__init__(*told, **named)


class _Secure(_Watched, HTTPSConnection):
    def __init__(self, line: Line, *told: Any, **named: Any) -> None:
        self.line = line
        super().__init__(*told, **named)


def _plain_pool(line: Line, *told: Any, **named: Any) -> HTTPConnectionPool:
    pool = HTTPConnectionPool(*told, **named)
    pool.ConnectionCls = partial(_Plain, line)  # type: ignore[assignment]
    return pool


def _secure_pool(line: Line, *told: Any, **named: Any) -> HTTPSConnectionPool:
    pool = HTTPSConnectionPool(*told, **named)
    pool.ConnectionCls = partial(_Secure, line)  # type: ignore[assignment]
    return pool


def _answer(response: requests.Response, line: Line) -> Answer:
    """Raises: OSError, also when the line was cut, which may look like the end of an answer without a length."""
    content = b""
    for piece in response.iter_content(READ_BYTES):
        content += piece
        if len(content) > MOST_BYTES:
            raise OSError("an answer without an end")
    if line.cut_for:
        raise TimeoutError
    text = content.decode(errors="replace")
    return Answer(response.status_code, _json(text), text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _trust(ca_file: str) -> str | bool:
    """A file of authorities, or those that requests brings."""
    if not ca_file:
        return True
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SettingsWrong(faults=f"[campay] ca_file: {ca_file}: {error.strerror or error}") from error
    return ca_file
