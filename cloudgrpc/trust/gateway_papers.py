"""The gateway's own papers: made by the authority of its machine, and by what those who join know it."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.errors import InvalidField, LocalFile, SettingsWrong
from cloudgrpc.trust.authority import Authority, general_name
from cloudgrpc.trust.bundle import authorities, issuer_among
from cloudgrpc.trust.identity import THE_GATEWAY, dns_names
from cloudgrpc.trust.papers import FOLDER, Papers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloudgrpc.config import Config

EVERYWHERE = frozenset({"", "0.0.0.0", "::", "[::]"})
HERE = ("localhost", "127.0.0.1", "::1")


def authority_of(config: Config) -> Authority | None:
    """None: this machine has none. Raises: SettingsWrong, LocalFile."""
    return Authority.open(config.data_folder / FOLDER, config.tls.certificate_days)


def open_gateway_papers(config: Config, clock: Callable[[], float] = time.time) -> Papers | None:
    """None: there are no certificates, so that all is plaintext. Its own certificate is made anew when it is missing or
    due, as after a crash of `certs init`, or when the gateway was off for long.

    Raises: SettingsWrong, LocalFile.
    """
    folder, authority = config.data_folder / FOLDER, authority_of(config)
    papers = Papers.open(folder, THE_GATEWAY)
    if authority is None:
        return papers
    if papers is None:
        papers = Papers(folder, THE_GATEWAY)
        certify(authority, papers, default_names(config))
    elif papers.renew_at <= clock():
        certify(authority, papers, papers.names)
    return papers


def certify(authority: Authority, papers: Papers, names: Iterable[str]) -> str:
    """Give the gateway a certificate, also for these names; returns its serial. Raises: InvalidField."""
    issued = authority.issue(papers.request(), papers.identity, names)
    papers.accept(issued.certificate, authority.bundle)
    return issued.serial


def default_names(config: Config) -> list[str]:
    """What a gateway is called that nobody gave names to."""
    told = [*HERE, socket.gethostname(), *([config.gateway.host] if config.gateway.host not in EVERYWHERE else [])]
    return [name for name in dict.fromkeys(each.strip("[]").lower() for each in told) if _is_name(name)]


def reached_at(config: Config, papers: Papers) -> str:
    """The name or address by which another machine finds the gateway, as far as it can be told."""
    if config.gateway.host not in EVERYWHERE:
        return config.gateway.host
    others = [name for name in papers.names if name not in HERE and "*" not in name]
    given = [name for name in others if name != socket.gethostname().lower()]
    return (given or others or [socket.gethostname()])[0]


def door_of(config: Config, papers: Papers) -> tuple[bytes, str]:
    """What the gateway shows where people are served: the certificate (DER) by which it is believed, and a name in it.

    Raises: SettingsWrong, LocalFile.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    if not config.tls.certificate_file:
        shown = x509.load_pem_x509_certificate(papers.tls.certificate)
        signer = issuer_among(shown, authorities(papers.bundle))
        if signer is None:
            raise SettingsWrong(faults="the gateway's certificate is by no authority that is believed here")
        return signer.public_bytes(Encoding.DER), THE_GATEWAY.host
    path = Path(config.tls.certificate_file).expanduser()
    try:
        own = x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error
    except ValueError as error:
        raise SettingsWrong(faults=f"[tls] certificate_file: {path} is no certificate") from error
    # The certificate itself, since its own authority may be one of the world's: nobody else can show this one.
    name = next(iter(dns_names(own)), config.gateway.host)
    return own.public_bytes(Encoding.DER), name.replace("*", "join")


def _is_name(told: str) -> bool:
    try:
        general_name(told)
    except InvalidField:
        return False
    return True
