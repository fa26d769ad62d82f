"""Why a connection did not come about, found out by looking there once: gRPC tells a caller little more than that it
was closed."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.errors import (
    CertificateElsewhere,
    CertificateExpired,
    CertificateRefused,
    CertificateUntrusted,
    PlaintextExpected,
    TlsExpected,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.errors import CloudError
    from cloudgrpc.rpc import Tls

PATIENCE_S = 5.0  # with somebody who has just hung up, but whose machine may be busy
NEVER_CONNECTED = "failed to connect"  # a connection that breaks later was one that both agreed on
# What gRPC says, among other words, when it reached somebody and could not agree with them. Where nobody answers at
# all, there is nothing to look at.
DISAGREED = ("Socket closed", "andshake", "erification", "onnection reset", "SSL")
# What every HTTP/2 client says first: a server answers with its settings, one that refused us has gone by then.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
EXPIRED, NOT_YET, OTHER_NAME, OTHER_ADDRESS = 10, 9, 62, 64  # OpenSSL's X509_V_ERR_…
PLAINTEXT = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
WAY_OUT = "turn TLS off at this end, too."


def is_worth_a_look(details: str) -> bool:
    """`details`: gRPC's own words for a call that failed."""
    return NEVER_CONNECTED in details and any(word in details for word in DISAGREED)


def look(host: str, port: int, tls: Tls | None, expected: str = "", way_out: str = WAY_OUT) -> CloudError | None:
    """What keeps us from talking to who is there; None when nothing does, or nobody answers. Takes a few seconds.

    `tls`: None when we speak plaintext. `expected`: the name in the other side's certificate, when it is not `host`.
    `way_out`: for people, where TLS is wanted here and not spoken there.
    """
    address = rpc.address(host, port)
    try:
        if tls is None:
            return TlsExpected(address=address) if _speaks_tls(host, port) else None
        return _look_with_tls(host, port, tls, expected or host.strip("[]"), way_out)
    except OSError:  # as all of ssl's
        return None


def _look_with_tls(host: str, port: int, tls: Tls, wanted: str, way_out: str) -> CloudError | None:
    address = rpc.address(host, port)
    try:
        answer = _answer(host, port, _context(tls), wanted)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in {EXPIRED, NOT_YET}:
            return CertificateExpired(address=address, reason=error.verify_message)
        if error.verify_code in {OTHER_NAME, OTHER_ADDRESS}:
            return CertificateElsewhere(address=address, names=_names_at(host, port), wanted=wanted)
        return CertificateUntrusted(address=address, reason=error.verify_message)
    except ssl.SSLError as error:
        if error.reason in PLAINTEXT:
            return PlaintextExpected(address=address, way_out=way_out)
        return CertificateRefused(address=address, reason=error.reason or "it ended the handshake")
    except ConnectionResetError:
        answer = b""
    return None if answer else CertificateRefused(address=address, reason=_fault_of(tls))


def _answer(host: str, port: int, context: ssl.SSLContext, wanted: str) -> bytes:
    """The first bytes that come back, b"" when the other side goes instead."""
    with _reached(host, port) as raw, context.wrap_socket(raw, server_hostname=wanted) as line:
        line.sendall(PREFACE)
        return line.recv(9)


def _context(tls: Tls) -> ssl.SSLContext:
    roots = tls.roots or rpc.system_roots()
    context = ssl.create_default_context(cadata=roots.decode() if roots else None)
    context.set_alpn_protocols(["h2"])
    if tls.key:
        # Python takes a key from a file only; from a pipe it is on no disk, whatever happens here.
        with _piped(tls.certificate) as certificate, _piped(tls.key) as key:
            context.load_cert_chain(certificate, key)
    return context


@contextlib.contextmanager
def _piped(content: bytes) -> Iterator[str]:
    """The name of a file that says this once. `content`: less than a pipe holds."""
    source, sink = os.pipe()
    try:
        with os.fdopen(sink, "wb") as file:
            file.write(content)
        yield f"/dev/fd/{source}"
    finally:
        os.close(source)


def _speaks_tls(host: str, port: int) -> bool:
    try:
        with _reached(host, port) as raw, _unverified().wrap_socket(raw, server_hostname=host.strip("[]")):
            return True
    except ssl.SSLEOFError:
        return False
    except ssl.SSLError as error:
        return error.reason not in PLAINTEXT


def _names_at(host: str, port: int) -> str:
    from cryptography import x509

    with _reached(host, port) as raw, _unverified().wrap_socket(raw, server_hostname=host.strip("[]")) as line:
        shown = line.getpeercert(binary_form=True)
    try:
        told = x509.load_der_x509_certificate(shown or b"").extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except (x509.ExtensionNotFound, ValueError):
        return "nobody"
    names = [*told.value.get_values_for_type(x509.DNSName), *map(str, told.value.get_values_for_type(x509.IPAddress))]
    return ", ".join(names) or "nobody"


def _unverified() -> ssl.SSLContext:
    """To see what is there; nothing is sent on it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _reached(host: str, port: int) -> socket.socket:
    return socket.create_connection((host.strip("[]"), port), timeout=PATIENCE_S)


def _fault_of(tls: Tls) -> str:
    """What may be wrong with what we show: the other side says nothing before it goes."""
    from cryptography import x509

    if not tls.certificate:
        return "it wants one, and none was shown; it is a port for the cluster's own machines"
    shown = x509.load_pem_x509_certificate(tls.certificate)
    now = datetime.fromtimestamp(time.time(), UTC)
    if shown.not_valid_after_utc < now:
        return f"it expired on {shown.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if shown.not_valid_before_utc > now:
        return f"it is good from {shown.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only; are the clocks right?"
    return "it is by no authority that is trusted there, or that machine's clock is wrong"
