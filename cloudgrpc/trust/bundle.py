"""The authorities that a machine believes, in one PEM file: the first is the one that signs, all are trusted."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
    from cryptography.x509 import Certificate

CA_FILE = "ca.crt"
ID_LETTERS = 8
SUBJECT = "CloudGrpc authority "  # its id follows, so that whatever it signed tells whose it is


def authorities(bundle: bytes) -> list[Certificate]:
    """Raises: ValueError when it is damaged, or holds none."""
    from cryptography import x509

    found = x509.load_pem_x509_certificates(bundle)
    if not all(is_authority(each) for each in found):
        raise ValueError("a certificate in it is no authority's")
    return found


def is_authority(certificate: Certificate) -> bool:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def pem_of(certificates: Iterable[Certificate]) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def authority_id(certificate: Certificate) -> str:
    """Stays the same when its certificate is made anew with the same key."""
    return key_digest(certificate.public_key())[:ID_LETTERS]


def issuer_id(certificate: Certificate) -> str:
    """The id of the authority that a certificate says it is by."""
    from cryptography.x509.oid import NameOID

    told = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(told[0].value).removeprefix(SUBJECT) if told else ""


def issuer_among(certificate: Certificate, trusted: Iterable[Certificate]) -> Certificate | None:
    """The one that really signed it; None when none did."""
    from cryptography.exceptions import InvalidSignature

    for authority in trusted:
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return authority
    return None


def key_digest(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 in hexadecimal: by which a key is known."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def bundle_digest(bundle: bytes) -> str:
    """By which two sides find out whether they believe the same, in the same order; "" of a damaged one."""
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        found = authorities(bundle)
    except ValueError:
        return ""
    return hashlib.sha256(b"".join(each.public_bytes(Encoding.DER) for each in found)).hexdigest()
