"""Who a certificate is for: a role and a name, written into it as a DNS name of our own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.introductions import NODE_ID

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

GATEWAY, NODE = "gateway", "node"
DOMAIN = ".cloudgrpc"  # of no other names: what people call a gateway must not end so
_HOST = re.compile(rf"(?P<name>[a-z0-9-]+)\.(?P<role>{GATEWAY}|{NODE})\.cloudgrpc")


@dataclass(frozen=True)
class Identity:
    """`role`: GATEWAY or NODE."""

    role: str
    name: str

    @property
    def host(self) -> str:
        """The DNS name in its certificate, that whoever calls it expects there."""
        return f"{self.name}.{self.role}{DOMAIN}"


@dataclass(frozen=True)
class Shown:
    """What a certificate says. `authority`: the id of the one that signed it. Times in seconds since 1970."""

    identity: Identity
    serial: str
    authority: str
    issued_at: int
    expires_at: int


RESERVED = frozenset({"ca", GATEWAY})  # as node ids: the papers of such a node would be in the place of those files
THE_GATEWAY = Identity(GATEWAY, "gateway")  # every gateway: they share the database, and stand for one another


def node_identity(node_id: str) -> Identity:
    return Identity(NODE, node_id)


def identity_of_pem(pem: bytes) -> Identity | None:
    """Of the first certificate in it; None when it is nobody of ours, or more than one."""
    from cryptography import x509

    try:
        return identity_of(x509.load_pem_x509_certificate(pem))
    except ValueError:
        return None


def serial_of_pem(pem: bytes) -> str:
    """In hexadecimal, as in the list of certificates; "" when it is no certificate."""
    from cryptography import x509

    try:
        return serial_of(x509.load_pem_x509_certificate(pem))
    except ValueError:
        return ""


def identity_of(certificate: Certificate) -> Identity | None:
    found = [match for name in dns_names(certificate) if (match := _HOST.fullmatch(name))]
    if len(found) != 1 or not NODE_ID.match(found[0]["name"]):
        return None
    return Identity(found[0]["role"], found[0]["name"])


def serial_of(certificate: Certificate) -> str:
    return f"{certificate.serial_number:x}"


def dns_names(certificate: Certificate) -> list[str]:
    from cryptography import x509

    try:
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return told.get_values_for_type(x509.DNSName)
