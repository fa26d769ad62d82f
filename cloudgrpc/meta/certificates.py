"""Who was invited to join as which node, and which certificates the cluster's authority has signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peewee import fn

from cloudgrpc.core.endings import Ending, Whose, is_ending
from cloudgrpc.errors import (
    CertificateRevoked,
    CertificateUnknown,
    JoinCodeExpired,
    JoinCodeForOther,
    JoinCodeUnknown,
    JoinCodeUsed,
)
from cloudgrpc.meta import events, paces
from cloudgrpc.meta.db import locked, now, rows
from cloudgrpc.meta.models import Certificate, Event, Invite, Node, RemovedNode

KEPT_US = 30 * 86400 * 1_000_000  # that what is over is still listed
LATE_US = 86400 * 1_000_000  # by which a machine's clock may be behind, so that an expired one looks good to it


@dataclass(frozen=True)
class NewCertificate:
    """What was signed; times in microseconds since 1970, by the clock of the machine that signed."""

    serial: str
    node_id: str
    authority: str
    issued_at: int
    expires_at: int


# Joining


def invite(digest: str, node_id: str, life_us: int, operator: str) -> int:
    """Let whoever has the secret of this digest join as the node; returns until when."""
    moment = now()
    Invite.insert(
        digest=digest, node_id=node_id, created_by=operator, created_at=moment, expires_at=moment + life_us
    ).execute()
    events.record(
        "node.invited",
        f"a code was made by which a machine may join as {node_id}",
        node_id=node_id,
        by=events.OPERATOR,
        operator=operator,
    )
    return moment + life_us


def use(digest: str, node_id: str, key_digest: str) -> None:
    """Take the code for this key. It is one key's for good: the same may ask again, after an answer that was lost.

    Raises: JoinCodeUnknown, JoinCodeExpired, JoinCodeForOther, JoinCodeUsed.
    """
    taken = (
        Invite.update(used_by=key_digest)
        .where(
            (Invite.digest == digest)
            & (Invite.node_id == node_id)
            & (Invite.used_by << ["", key_digest])
            & (Invite.expires_at > now())
        )
        .execute()
    )
    if not taken:
        _refuse(digest, node_id, key_digest)


def record_joined(digest: str, key_digest: str, certificate: NewCertificate) -> None:
    """A certificate that was signed for a code; only what is recorded may be handed out.

    Raises: as `use`, when the code was taken back or ran out meanwhile.
    """
    use(digest, certificate.node_id, key_digest)
    _record(certificate, f"{certificate.node_id} joined and got a certificate")


def record_renewed(old_serial: str, certificate: NewCertificate) -> None:
    """Raises: CertificateRevoked, CertificateUnknown when the one it follows is not among ours."""
    # Locked, so that of a renewal and a revocation at once the second sees the first.
    list(locked(Certificate.select().where(Certificate.serial == old_serial)))
    check(old_serial, certificate.node_id)
    _record(certificate, f"the certificate of {certificate.node_id} was renewed")


def is_known(serial: str) -> bool:
    return Certificate.select().where(Certificate.serial == serial).exists()


def record_found(certificate: NewCertificate) -> None:
    """One that a node showed, and that is on no list."""
    if is_known(certificate.serial):
        return
    _insert(certificate)
    events.record(
        "certificate.found",
        f"{certificate.node_id} shows a certificate that was on no list, as after a backup was restored",
        node_id=certificate.node_id,
        serial=certificate.serial,
        authority=certificate.authority,
    )


def check(serial: str, node_id: str) -> None:
    """Whether this is a good certificate of the node; its dates were looked at when it was shown.

    Raises: CertificateRevoked, CertificateUnknown.
    """
    found = Certificate.get_or_none(Certificate.serial == serial)
    if found is None or found.node_id != node_id:
        raise CertificateUnknown(node_id=node_id)
    if found.revoked_at is not None:
        raise CertificateRevoked(name=node_id, serial=serial)


def _insert(certificate: NewCertificate) -> None:
    row = Certificate.insert(
        serial=certificate.serial,
        node_id=certificate.node_id,
        authority=certificate.authority,
        issued_at=certificate.issued_at,
        expires_at=certificate.expires_at,
    )
    row.on_conflict_ignore().execute()  # another gateway may have found the same one


def _record(certificate: NewCertificate, message: str) -> None:
    _insert(certificate)
    events.record(
        "certificate.issued",
        message,
        node_id=certificate.node_id,
        serial=certificate.serial,
        authority=certificate.authority,
    )


def _refuse(digest: str, node_id: str, key_digest: str) -> None:
    """Raises: why the code cannot be used."""
    found = Invite.get_or_none(Invite.digest == digest)
    if found is None:
        raise JoinCodeUnknown
    if found.node_id != node_id:
        raise JoinCodeForOther(node_id=node_id)
    if found.used_by not in {"", key_digest}:  # first: that somebody else has it is worse than that it is late
        raise JoinCodeUsed(node_id=node_id)
    raise JoinCodeExpired(node_id=node_id)


# Revoking


def revoke(node_id: str, operator: str) -> tuple[list[str], int]:
    """Refuse the node's certificates, and take its codes back; returns the serials that were good until now, and how
    many codes nobody had used. Raises: CertificateUnknown when there is nothing to refuse."""
    moment = now()
    list(locked(Node.select().where(Node.node_id == node_id)))  # before its certificates, as whoever removes it does
    good, codes = shut_out(node_id, moment)
    if not good and not codes:
        raise CertificateUnknown(node_id=node_id)
    events.record(
        "certificate.revoked",
        f"the certificates of {node_id} were revoked: it is refused until it is invited again",
        node_id=node_id,
        by=events.OPERATOR,
        operator=operator,
        serials=good,
    )
    if good:
        _call_offline(node_id, moment)
    return good, codes.count("")


def shut_out(node_id: str, moment: int) -> tuple[list[str], list[str]]:
    """Refuse the node's certificates from this moment on, and take its codes back. Returns the serials that were good
    until now, and of each code that was, by whose key it was used."""
    live = Invite.select().where((Invite.node_id == node_id) & (Invite.expires_at > moment))
    codes = [each.used_by for each in live]
    # All codes, also used ones: a join that is under way finds its code gone, or is over when this goes on.
    Invite.delete().where(Invite.node_id == node_id).execute()
    of_node = Certificate.node_id == node_id
    list(locked(Certificate.select().where(of_node)))  # a renewal that is under way is over when this goes on
    paces.give_back(turns_of(node_id))  # a thief may have taken them all: whoever is invited next need not wait
    Certificate.update(revoked_at=moment).where(of_node & Certificate.revoked_at.is_null()).execute()
    revoked = Certificate.select().where(
        of_node & (Certificate.revoked_at == moment) & (Certificate.expires_at > moment)
    )
    return [each.serial for each in revoked.order_by(Certificate.issued_at)], codes


def turns_of(node_id: str) -> str:
    """By which name it is counted how many certificates a node gets; see `paces`."""
    return f"certificates of {node_id}"


def is_removed(serial: str) -> bool:
    """Whether it was revoked because its node was removed: in one transaction, and so at the same moment."""
    query = Certificate.select().join(
        RemovedNode,
        on=(RemovedNode.node_id == Certificate.node_id) & (RemovedNode.removed_at == Certificate.revoked_at),
    )
    return query.where(Certificate.serial == serial).exists()


def _call_offline(node_id: str, moment: int) -> None:
    """No chunks go to it from now on. Its own signs of life end, but are missed only after a while."""
    gone = Node.update(is_online=False, offline_since_at=moment).where((Node.node_id == node_id) & Node.is_online)
    if gone.execute():
        events.record("node.offline", f"{node_id} went offline: its certificates were revoked", node_id=node_id)


def revoked_serials() -> list[str]:
    """Of certificates that would be good by their dates, also by a clock that is late."""
    live = Certificate.select(Certificate.serial).where(
        Certificate.revoked_at.is_null(False) & (Certificate.expires_at > now() - LATE_US)
    )
    return [each.serial for each in live.order_by(Certificate.expires_at)]


# Looking


@dataclass(frozen=True)
class Found:
    """`certificates`: by node, the newest last. `invites`: codes that can still be used."""

    certificates: list[Certificate]
    invites: list[Invite]
    read_at: int

    def is_good(self, certificate: Certificate) -> bool:
        return certificate.revoked_at is None and certificate.expires_at > self.read_at


def look() -> Found:
    moment = now()
    unused = Invite.select().where((Invite.expires_at > moment) & (Invite.used_by == ""))
    return Found(
        list(Certificate.select().order_by(Certificate.node_id, Certificate.issued_at)),
        list(unused.order_by(Invite.expires_at)),
        moment,
    )


def unrenewed() -> list[Ending]:
    """Of nodes that are online, the newest certificate where it nears its end."""
    moment = now()
    newest: Any = (
        Certificate.select(Certificate.node_id, fn.MAX(Certificate.issued_at), fn.MAX(Certificate.expires_at))
        .join(Node, on=(Node.node_id == Certificate.node_id))
        .where(Node.is_online & Certificate.revoked_at.is_null())
        .group_by(Certificate.node_id)
        .order_by(Certificate.node_id)
    )
    return [
        Ending(Whose.NODE, node_id, ends_at)
        for node_id, issued_at, ends_at in rows(newest)
        if is_ending(Whose.NODE, issued_at, ends_at, moment)
    ]


def tell_ending(ending: Ending) -> bool:
    """Once for each; False: it was told."""
    kind = "authority.ending" if ending.whose is Whose.AUTHORITY else "certificate.unrenewed"
    if Event.select().where((Event.kind == kind) & (Event.message == ending.words)).exists():
        return False
    events.record(kind, ending.words, node_id=ending.name if ending.whose is Whose.NODE else "")
    return True


def sweep() -> None:
    """Forget what has been over for a while."""
    Certificate.delete().where(Certificate.expires_at < now() - KEPT_US).execute()
    Invite.delete().where(Invite.expires_at < now() - KEPT_US).execute()
