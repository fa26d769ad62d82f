"""Secrets and certificates of this data folder: there, closed to others, saved elsewhere, and not at their end."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.about.findings import Finding, failed, note, ok, wrong
from cloudgrpc.core.concerns import SAVE_SECRETS
from cloudgrpc.core.units import day
from cloudgrpc.errors import CloudError
from cloudgrpc.trust import private
from cloudgrpc.trust.authority import DAY_S, KEY_FILE
from cloudgrpc.trust.bundle import authorities, issuer_among
from cloudgrpc.trust.identity import RESERVED, THE_GATEWAY, node_identity
from cloudgrpc.trust.papers import FOLDER, Papers
from cloudgrpc.trust.secret_files import kept
from cloudgrpc.trust.secrets import MASTER, NAMES, folder_of, is_generated
from cloudgrpc.trust.secrets_backup import last

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.config import Config

SECRETS, CERTIFICATES = "secrets", "certificates"
SHORT_DAYS, LONG_DAYS = 30, 365  # left of an authority: exchanging one takes a while
OWN_DAYS = 14  # left of a certificate that somebody else makes


def look_at_secrets(config: Config) -> Iterator[Finding]:
    if elses := _of_somebody_else(SECRETS, folder_of(config)):
        yield elses
        return
    try:
        secrets = kept(config)
        saved = last(config)
    except CloudError as error:
        yield failed(SECRETS, error)
        return
    there = [each for each in secrets if each.fingerprints]
    if not there:
        yield note(SECRETS, f"none yet in {folder_of(config)}; the gateway's first start makes them")
        return
    yield ok(SECRETS, ", ".join(f"{each.name} {'+'.join(each.fingerprints)}" for each in there) + ", closed to others")
    master = {fingerprint for each in there if each.name == NAMES[MASTER] for fingerprint in each.fingerprints}
    if is_generated(config, MASTER) and master - set(saved.fingerprints):
        words = "the master key is on this machine alone; without it no file can ever be read"
        yield note(SECRETS, words, f"Save it elsewhere: {SAVE_SECRETS}")


def _of_somebody_else(check: str, folder: Path) -> Finding | None:
    """As root sees those of a service's user. To be told to take them would shut that one out."""
    with contextlib.suppress(OSError):  # what cannot be looked at is told by who reads it
        if (owner := folder.stat().st_uid) != os.geteuid():
            words = f"{folder} belongs to another user (uid {owner}), and was not looked into"
            return note(check, words, "Run doctor as the user that the gateway or the node runs as.")
    return None


def look_at_certificates(config: Config) -> Iterator[Finding]:
    folder = config.data_folder / FOLDER
    if elses := _of_somebody_else(CERTIFICATES, folder):
        yield elses
        return
    if not folder.is_dir():
        yield from _without(config)
        return
    names = sorted(path.stem for path in folder.glob("*.crt") if path.stem not in RESERVED)
    try:
        yield from _authority(config)
        for identity in [THE_GATEWAY, *map(node_identity, names)]:
            papers = Papers.open(folder, identity)
            if papers is not None:
                yield _papers(config, papers)
            elif (folder / KEY_FILE).exists():
                yield note(CERTIFICATES, "the gateway has none yet; its next start makes it")
        yield from _own(config)
    except CloudError as error:
        yield failed(CERTIFICATES, error)


def _without(config: Config) -> Iterator[Finding]:
    try:
        if config.tls.certificate_file:
            yield wrong(
                CERTIFICATES,
                "[tls] certificate_file is for people only; the cluster's own machines have none",
                "Make them first: cloudgrpc certs init",
            )
        rpc.check_listen(config.gateway.host, config.cluster.allow_plaintext)
    except CloudError as error:
        yield failed(CERTIFICATES, error)
        return
    if rpc.is_loopback(config.gateway.host):
        yield note(CERTIFICATES, "none, so all is plaintext, which does not leave this machine")
    else:
        yield note(
            CERTIFICATES, "none: codes and files cross the network in plaintext", "Make them: cloudgrpc certs init"
        )


def _authority(config: Config) -> Iterator[Finding]:
    from cloudgrpc.trust.gateway_papers import authority_of

    authority = authority_of(config)
    for known in authority.known if authority else []:
        days = (known.expires_at - time.time()) / DAY_S
        words = f"the authority {known.authority_id} is good until {_day(known.expires_at)}"
        if days < SHORT_DAYS:
            yield wrong(CERTIFICATES, words, "Exchange it now: cloudgrpc certs ca add, then use, then remove")
        elif days < LONG_DAYS:
            yield note(CERTIFICATES, words, "Exchange it in time: cloudgrpc certs ca add, then use, then remove")
        else:
            yield ok(CERTIFICATES, f"{words}{', and signs' if known.signs else ''}")


def _papers(config: Config, papers: Papers) -> Finding:
    whose, until = papers.identity.name, _day(papers.expires_at)
    is_gateway, now = papers.identity == THE_GATEWAY, time.time()
    if fault := _not_believed(papers, now):
        return wrong(CERTIFICATES, f"that of {whose} {fault}", _anew(papers))
    is_authority_here = (config.data_folder / FOLDER / KEY_FILE).exists()
    if papers.expires_at <= now:
        is_renewed = is_gateway and is_authority_here
        way_out = "Start the gateway: it makes itself a new one." if is_renewed else _anew(papers)
        return wrong(CERTIFICATES, f"that of {whose} expired on {until}", way_out)
    if papers.renew_at <= now:
        return note(
            CERTIFICATES,
            f"that of {whose} is good until {until}, and due to be renewed",
            "It renews itself while it runs.",
        )
    host = config.gateway.host
    if is_gateway and not rpc.is_loopback(host) and host not in {"0.0.0.0", "::", *papers.names}:
        words = f"that of the gateway is for {', '.join(papers.names)}, and not for {host}, where it listens"
        return wrong(CERTIFICATES, words, f"cloudgrpc certs init --name {host}")
    return ok(CERTIFICATES, f"that of {whose} is good until {until}")


def _not_believed(papers: Papers, now: float) -> str:
    """Why nobody believes it, whatever day it is good until; "" when it is sound."""
    from cryptography import x509

    shown = x509.load_pem_x509_certificate(papers.tls.certificate)
    if issuer_among(shown, authorities(papers.bundle)) is None:
        return "is by no authority that is believed here"
    if (begins := shown.not_valid_before_utc.timestamp()) > now:
        return f"is good only from {_day(begins)} on: this clock is behind, or that of who made it was ahead"
    return ""


def _anew(papers: Papers) -> str:
    if papers.identity == THE_GATEWAY:
        return "Make it anew, on the gateway's machine: cloudgrpc certs init"
    return f"Let it join again; on the gateway's machine: cloudgrpc certs invite {papers.identity.name}"


def _own(config: Config) -> Iterator[Finding]:
    """The one that people are shown in the place of the cluster's. Raises: LocalFile, SettingsWrong."""
    if not config.tls.certificate_file:
        return
    from cryptography import x509

    path, key = Path(config.tls.certificate_file).expanduser(), Path(config.tls.key_file).expanduser()
    pem, _ = private.read(path, is_secret=False), private.read(key)
    try:
        shown = x509.load_pem_x509_certificates(pem or b"")[0]
    except ValueError:
        yield wrong(CERTIFICATES, f"{path} is no certificate (PEM), or is not there", "Correct [tls] certificate_file.")
        return
    until = shown.not_valid_after_utc.timestamp()
    if fault := _unusable(path, key):
        yield wrong(CERTIFICATES, f"{path} and {key}: {fault}", "Correct [tls] certificate_file and key_file.")
        return
    words = f"{path}, which people are shown, is good until {_day(until)}"
    if until <= time.time():
        yield wrong(
            CERTIFICATES, f"{path}, which people are shown, expired on {_day(until)}", "Renew it where it is from."
        )
    elif until - time.time() < OWN_DAYS * DAY_S:
        yield note(CERTIFICATES, words, "Renew it where it is from; the gateway reads it again by itself.")
    else:
        yield ok(CERTIFICATES, words)


def _unusable(certificate: Path, key: Path) -> str:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:  # ssl's errors, too
        return error.strerror or str(error)
    return ""


def _day(seconds: float) -> str:
    return day(int(seconds * 1_000_000))
