"""How machines come to have a node's papers: invited, joined by a code, renewed, revoked."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core import join_code
from cloudgrpc.core.introductions import HOST, NODE_ID
from cloudgrpc.core.join_code import JoinCode
from cloudgrpc.core.pace import Rule, in_seconds, per_hour
from cloudgrpc.core.peers import VISITOR
from cloudgrpc.errors import (
    AuthorityMissing,
    CertificateRevoked,
    InvalidField,
    JoinCodeExpired,
    JoinCodeForOther,
    JoinCodeUnknown,
    JoinCodeUsed,
    NodeRemoved,
    TooManyCertificates,
    TooManyTries,
)
from cloudgrpc.meta import certificates, paces, standing
from cloudgrpc.meta.certificates import NewCertificate
from cloudgrpc.trust.authority import request_digest
from cloudgrpc.trust.bundle import bundle_digest
from cloudgrpc.trust.identity import NODE, RESERVED, node_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.core.rotation import AnySecret
    from cloudgrpc.errors import CloudError
    from cloudgrpc.meta.certificates import Found
    from cloudgrpc.meta.db import Database
    from cloudgrpc.trust.authority import Authority, Issued, Known
    from cloudgrpc.trust.identity import Shown

log = logging.getLogger(__name__)

CODE_S = 15 * 60  # that a join code is good for
WRONG = (JoinCodeUnknown, JoinCodeExpired, JoinCodeForOther, JoinCodeUsed)
MICROS = 1_000_000
LOOK_S = 1.0  # how old the list of revoked certificates may be
LIST_S = 60.0  # how old the knowledge may be that a certificate is on the list
MOST_LISTED = 10_000
REQUEST_BYTES = 16 << 10
# A node that renews in time gets one in two thirds of their life, and some more while the authority is exchanged.
CERTIFICATES_AT_ONCE, CERTIFICATE_EVERY_S, RENEWALS_IN_A_LIFE = 20, 3600.0, 6


@dataclass(frozen=True)
class Entrance:
    """Where a machine that joins finds this gateway, and how it knows it: as in a join code."""

    host: str
    port: int
    name: str
    root: bytes  # DER


@dataclass(frozen=True)
class Invitation:
    code: str
    host: str
    port: int
    expires_at: int


@dataclass(frozen=True)
class Given:
    """`certificate` and `authorities`: PEM."""

    certificate: bytes
    authorities: bytes


@dataclass(frozen=True)
class Overview:
    """Everything about certificates; `behind`: nodes with a good one that are not known to believe the authorities of
    now, in their order."""

    found: Found
    authorities: list[Known]
    behind: list[str]


class Joining:
    """`authority`: None where there is none; `entrance`: as of now, since certificates change. `cluster_place`: host
    and port where nodes are heard; the host is "" when it is that of the entrance."""

    def __init__(
        self,
        database: Database,
        authority: Authority | None,
        entrance: Callable[[], Entrance],
        secret: AnySecret,
        *,
        cluster_place: tuple[str, int],
        tries_per_hour: int,
    ) -> None:
        self._db = database
        self._authority = authority
        self._entrance = entrance
        self._secret = secret
        self._cluster_place = cluster_place
        self._tries_per_hour = tries_per_hour
        self._believed: dict[str, str] = {}  # by node: the digest of the authorities that it told last
        self._revoked: Sequence[str] = ()
        self._looked_at = -LOOK_S
        self._listed: dict[str, float] = {}  # serials that are on the list, and when that was looked up

    async def invite(self, operator: str, node_id: str, address: str = "") -> Invitation:
        """`address`: HOST:PORT by which the other machine reaches this gateway; "": as the gateway thinks best.

        Raises: InvalidField, AuthorityMissing.
        """
        _check_node_id(node_id)
        if self._authority is None:
            raise AuthorityMissing
        entrance = await asyncio.to_thread(self._entrance)
        host, port = _host_and_port(address) if address else (entrance.host, entrance.port)
        secret = secrets.token_urlsafe(32)
        until = await self._db.run(certificates.invite, _digest(secret), node_id, CODE_S * MICROS, operator)
        cluster_id = (await self._db.read(standing.look)).cluster_id
        code = JoinCode(node_id, cluster_id, host, port, entrance.name, entrance.root, secret)
        return Invitation(join_code.encoded(code), host, port, until)

    async def join(self, secret: str, node_id: str, request: bytes) -> tuple[Given, tuple[str, int], Sequence[str]]:
        """The papers of a node for whoever holds its code, where nodes are heard, and the cluster's secrets.

        Raises: JoinCodeUnknown, JoinCodeExpired, JoinCodeForOther, JoinCodeUsed, TooManyTries, TooManyCertificates,
            InvalidField, AuthorityMissing.
        """
        if self._authority is None:
            raise AuthorityMissing
        _check_node_id(node_id)
        key_digest = await _key_digest(request)
        rules = [per_hour(f"join tries by {VISITOR.get().host}", self._tries_per_hour)]
        if wait := await self._db.read(paces.wait, rules):
            raise TooManyTries(seconds=in_seconds(wait))
        digest = _digest(secret)
        try:
            # Taken before anything is signed. A crash after it costs nothing: with the same key it can be taken again.
            await self._db.run(certificates.use, digest, node_id, key_digest)
            await self._take_turn(node_id)
            issued = await self._issue(node_id, request)
            await self._db.run(certificates.record_joined, digest, key_digest, _new(issued, node_id))
        except WRONG as error:
            log.warning("refused a join as %s from %s: %s", node_id, VISITOR.get().host, error)
            await self._db.run(paces.take, rules)
            raise
        log.info("%s joined from %s and got the certificate %s", node_id, VISITOR.get().host, issued.serial)
        given = Given(issued.certificate, self._authority.bundle)
        return given, self._cluster_place, list(self._secret.accepted)

    async def renew(self, node_id: str, serial: str, request: bytes) -> Given:
        """A fresh certificate for the node that showed the one with this serial.

        Raises: CertificateRevoked, CertificateUnknown, TooManyCertificates, InvalidField, AuthorityMissing.
        """
        if self._authority is None:
            raise AuthorityMissing
        _check_node_id(node_id)
        await _key_digest(request)
        await self._db.read(certificates.check, serial, node_id)
        await self._take_turn(node_id)
        issued = await self._issue(node_id, request)
        await self._db.run(certificates.record_renewed, serial, _new(issued, node_id))
        log.info("%s got a fresh certificate, %s", node_id, issued.serial)
        return Given(issued.certificate, self._authority.bundle)

    async def revoke(self, operator: str, node_id: str) -> tuple[list[str], int]:
        """The serials that were good until now, and how many codes were taken back. Raises: CertificateUnknown."""
        _check_node_id(node_id)
        revoked = await self._db.run(certificates.revoke, node_id, operator)
        self._looked_at = -LOOK_S
        log.warning("the certificates of %s were revoked by %s", node_id, operator)
        return revoked

    async def revoked(self) -> Sequence[str]:
        """Serials of certificates that are refused, though their dates are good."""
        if time.monotonic() - self._looked_at >= LOOK_S:
            self._revoked = await self._db.read(certificates.revoked_serials)
            self._looked_at = time.monotonic()
        return self._revoked

    async def refusal(self, shown: Shown) -> CloudError | None:
        """Why the certificate is refused, though its dates are good; None: it is not."""
        if shown.identity.role == NODE:
            await self._list(shown)
        if shown.serial not in await self.revoked():
            return None
        if shown.identity.role == NODE and await self._db.read(certificates.is_removed, shown.serial):
            return NodeRemoved(node_id=shown.identity.name)
        return CertificateRevoked(name=shown.identity.host, serial=shown.serial)

    async def _list(self, shown: Shown) -> None:
        """What is not on the list cannot be revoked: after a backup was restored, whatever was signed since is not."""
        if time.monotonic() - self._listed.get(shown.serial, -LIST_S) < LIST_S:
            return
        if not await self._db.read(certificates.is_known, shown.serial):
            found = NewCertificate(
                shown.serial, shown.identity.name, shown.authority, shown.issued_at * MICROS, shown.expires_at * MICROS
            )
            await self._db.run(certificates.record_found, found)
            log.warning("%s showed a certificate that was on no list: %s", shown.identity.name, shown.serial)
        if len(self._listed) >= MOST_LISTED:
            self._listed.clear()
        self._listed[shown.serial] = time.monotonic()

    def news(self, node_id: str, believed: str) -> bytes:
        """The authorities to believe (PEM), for a node that told the digest of those it does; b"": it knows them."""
        self._believed[node_id] = believed
        if self._authority is None or not believed:
            return b""
        bundle = self._authority.bundle
        return b"" if believed == bundle_digest(bundle) else bundle

    async def look(self) -> Overview:
        known, digest = (self._authority.known, bundle_digest(self._authority.bundle)) if self._authority else ([], "")
        found = await self._db.read(certificates.look)
        certified = {each.node_id for each in found.certificates if found.is_good(each)}
        behind = sorted(each for each in certified if self._authority and self._believed.get(each) != digest)
        return Overview(found, known, behind)

    async def tidy(self) -> None:
        """Forget what has long been over."""
        await self._db.run(certificates.sweep)

    async def _take_turn(self, node_id: str) -> None:
        """Raises: TooManyCertificates: a node that was stolen must not fill the list of those that can be revoked."""
        assert self._authority is not None  # noqa: S101 - the callers have looked
        every_s = min(CERTIFICATE_EVERY_S, self._authority.life_s / RENEWALS_IN_A_LIFE)
        rule = Rule(certificates.turns_of(node_id), int(every_s * MICROS), CERTIFICATES_AT_ONCE)
        if wait := await self._db.run(paces.take, [rule]):
            raise TooManyCertificates(node_id=node_id, seconds=in_seconds(wait))

    async def _issue(self, node_id: str, request: bytes) -> Issued:
        assert self._authority is not None  # noqa: S101 - the callers have looked
        return await asyncio.to_thread(self._authority.issue, request, node_identity(node_id))


def _new(issued: Issued, node_id: str) -> NewCertificate:
    return NewCertificate(issued.serial, node_id, issued.issuer, issued.issued_at * MICROS, issued.expires_at * MICROS)


def _check_node_id(node_id: str) -> None:
    if not NODE_ID.match(node_id):
        raise InvalidField(field="node_id", reason="must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
    if node_id in RESERVED:
        raise InvalidField(field="node_id", reason=f"must not be {node_id}: the cluster's own files are called so")


async def _key_digest(request: bytes) -> str:
    """Raises: InvalidField."""
    if len(request) > REQUEST_BYTES:
        raise InvalidField(field="csr", reason="is too long")
    return await asyncio.to_thread(request_digest, request)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not HOST.match(host) or not (port.isascii() and port.isdigit() and 1 <= int(port[:9]) <= 65535):
        raise InvalidField(field="address", reason="is not HOST:PORT")
    return host, int(port)


def _digest(secret: str) -> str:
    """Of what is random enough for a plain one."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
