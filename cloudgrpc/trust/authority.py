"""The cluster's own certificate authority, in the gateway's data folder.

<data folder>/certs/    mode 0700
  ca.crt                the authorities that are believed; the first of them signs
  ca.key                their keys, mode 0600
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloudgrpc.errors import AuthorityInUse, AuthorityUnknown, CloudError, InvalidField, SettingsWrong
from cloudgrpc.trust import private
from cloudgrpc.trust.bundle import (
    CA_FILE,
    ID_LETTERS,
    SUBJECT,
    authorities,
    authority_id,
    key_digest,
    pem_of,
)
from cloudgrpc.trust.identity import DOMAIN, serial_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, CertificateSigningRequest, GeneralName

    from cloudgrpc.trust.identity import Identity

log = logging.getLogger(__name__)

KEY_FILE = "ca.key"
CA_DAYS = 3652  # ten years
DAY_S = 86400.0
SKEW_S = 300.0  # by which clocks of two machines may differ: a certificate is good from so long before
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
NAME = re.compile(rf"(\*\.)?{LABEL}(\.{LABEL})*\.?")
NAME_LETTERS = 253


@dataclass(frozen=True)
class Issued:
    """`certificate`: PEM. `serial`: hexadecimal. `issuer`: the authority's id. Times in seconds since 1970."""

    certificate: bytes
    serial: str
    issuer: str
    issued_at: int
    expires_at: int


@dataclass(frozen=True)
class Known:
    """An authority that is believed. `signs`: it is the one in use. `is_ours`: its key is here."""

    authority_id: str
    expires_at: int
    signs: bool
    is_ours: bool


class Authority:
    """Its files are read again when they changed, since commands change them while the gateway runs."""

    def __init__(self, folder: Path, days: float, clock: Callable[[], float] = time.time) -> None:
        """`folder`: certs/. `days`: that what it signs is good for."""
        self._folder = folder
        self._days = days
        self._clock = clock
        self._mark: object = None
        self._told = ""
        self._trusted: list[Certificate] = []
        self._keys: dict[str, EllipticCurvePrivateKey] = {}

    @classmethod
    def open(cls, folder: Path, days: float = 90, clock: Callable[[], float] = time.time) -> Authority | None:
        """None: there is none here. Raises: SettingsWrong when it is damaged or open to others; LocalFile."""
        if not (folder / KEY_FILE).exists():
            return None
        authority = cls(folder, days, clock)
        authority._look()
        return authority

    @classmethod
    def create(cls, folder: Path, days: float = 90, clock: Callable[[], float] = time.time) -> Authority:
        """The one that is here, or a new one. What a crash left half done is finished.

        Raises: SettingsWrong, LocalFile.
        """
        authority = cls(folder, days, clock)
        with private.changing(folder):
            keys = private.read(folder / KEY_FILE)
            if keys is None:
                if (folder / CA_FILE).exists():
                    raise SettingsWrong(faults=f"{folder / CA_FILE}: is of an authority whose key is not here")
                keys = _key_pem(_new_key())
                private.write(folder / KEY_FILE, keys)
            if not (folder / CA_FILE).exists():
                # From the key alone, so that what was signed with it stays good.
                made = [authority._self_signed(key) for key in _keys_in(folder / KEY_FILE, keys).values()]
                private.write(folder / CA_FILE, pem_of(made))
        authority._look()
        return authority

    @property
    def life_s(self) -> float:
        """Of what it signs, in seconds."""
        return self._days * DAY_S

    @property
    def bundle(self) -> bytes:
        """All that are believed, as PEM; what was read last, when its files are away or damaged."""
        self._glance()
        return pem_of(self._trusted)

    @property
    def known(self) -> list[Known]:
        self._glance()
        return [
            Known(authority_id(each), _seconds(each.not_valid_after_utc), place == 0, authority_id(each) in self._keys)
            for place, each in enumerate(self._trusted)
        ]

    def issue(self, csr_pem: bytes, identity: Identity, extra_names: Iterable[str] = ()) -> Issued:
        """A certificate for the key in the request; whatever else the request says is not looked at.

        `extra_names`: DNS names and addresses besides. Raises: InvalidField.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.x509.oid import ExtendedKeyUsageOID

        self._look()
        signer, request = self._trusted[0], read_request(csr_pem)
        key = self._signing_key(signer)
        moment, life_s = self._clock(), self._days * DAY_S
        expires = min(_moment(moment + life_s) + dt.timedelta(seconds=1), signer.not_valid_after_utc)
        names = [x509.DNSName(identity.host), *map(general_name, dict.fromkeys(extra_names))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_common_name(identity.host))
            .issuer_name(signer.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(moment - min(SKEW_S, life_s)))
            .not_valid_after(expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)  # type: ignore[arg-type]  # ours are of P-256
            .sign(key, SHA256())
        )
        return Issued(
            pem_of([certificate]), serial_of(certificate), authority_id(signer), int(moment), _seconds(expires)
        )

    # Change of the authority, in three steps

    def add_ca(self) -> str:
        """A further one that is believed but does not sign yet; returns its id."""
        with private.changing(self._folder):
            self._look()
            key = _new_key()
            certificate = self._self_signed(key)
            # A key without its certificate does no harm, a certificate without its key does.
            self._write_keys([*self._keys.values(), key])
            self._write_trusted([*self._trusted, certificate])
        self._look()
        return authority_id(certificate)

    def use_ca(self, told: str) -> None:
        """Let this one sign from now on. Raises: AuthorityUnknown."""
        with private.changing(self._folder):
            self._look()
            chosen = self._named(told)
            self._signing_key(chosen)
            self._write_trusted([chosen, *(each for each in self._trusted if each is not chosen)])
        self._look()

    def remove_ca(self, told: str) -> None:
        """Believe it no more. Raises: AuthorityUnknown, AuthorityInUse."""
        with private.changing(self._folder):
            self._look()
            chosen = self._named(told)
            if chosen is self._trusted[0]:
                raise AuthorityInUse(authority_id=authority_id(chosen))
            left = [each for each in self._trusted if each is not chosen]
            self._write_trusted(left)
            wanted = {authority_id(each) for each in left}
            self._write_keys([key for key_id, key in self._keys.items() if key_id in wanted])
        self._look()

    def _named(self, told: str) -> Certificate:
        for each in self._trusted:
            if authority_id(each) == told.lower():
                return each
        raise AuthorityUnknown(authority_id=told)

    def _signing_key(self, certificate: Certificate) -> EllipticCurvePrivateKey:
        key = self._keys.get(authority_id(certificate))
        if key is None:
            place = self._folder / KEY_FILE
            raise SettingsWrong(faults=f"{place}: the key of the authority {authority_id(certificate)} is not in it")
        return key

    def _write_keys(self, keys: Iterable[EllipticCurvePrivateKey]) -> None:
        private.write(self._folder / KEY_FILE, b"".join(map(_key_pem, keys)))

    def _write_trusted(self, trusted: Iterable[Certificate]) -> None:
        private.write(self._folder / CA_FILE, pem_of(trusted))

    def _glance(self) -> None:
        """Nodes ask with every sign of life whom to believe: that goes on, whatever happened to the files."""
        try:
            self._look()
        except CloudError as error:
            if not self._trusted:
                raise
            if str(error) != self._told:
                log.warning("%s (nothing can be signed until then)", error)
            self._told = str(error)

    def _look(self) -> None:
        """Raises: SettingsWrong, LocalFile."""
        place, key_place = self._folder / CA_FILE, self._folder / KEY_FILE
        mark = (private.mark_of(place), private.mark_of(key_place))
        if mark == self._mark:
            return
        private.check_folder(self._folder)
        keys, bundle = private.read(key_place), private.read(place, is_secret=False)
        if keys is None or bundle is None:
            missing = key_place if keys is None else place
            raise SettingsWrong(faults=f"{missing}: is not there; bring it back")
        try:
            self._trusted = authorities(bundle)
        except ValueError as error:
            raise SettingsWrong(faults=f"{place}: is damaged: {error}") from error
        self._keys = _keys_in(key_place, keys)
        self._mark = mark

    def _self_signed(self, key: EllipticCurvePrivateKey) -> Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256

        moment, public = self._clock(), key.public_key()
        name = _common_name(f"{SUBJECT}{key_digest(public)[:ID_LETTERS]}")
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(moment - SKEW_S))
            .not_valid_after(_moment(moment + CA_DAYS * DAY_S))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, SHA256())
        )


def read_request(csr_pem: bytes) -> CertificateSigningRequest:
    """Raises: InvalidField."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key, is_signed = request.public_key(), request.is_signature_valid
    except Exception as error:  # what the parser says of bytes that are none is not one kind of error
        raise InvalidField(field="csr", reason="is no request for a certificate") from error
    if not is_signed or not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise InvalidField(field="csr", reason="must be signed with its own key, of the curve P-256")
    return request


def request_digest(csr_pem: bytes) -> str:
    """Of the public key in it. Raises: InvalidField."""
    return key_digest(read_request(csr_pem).public_key())


def general_name(told: str) -> GeneralName:
    """A host's name or address as it stands in a certificate. Raises: InvalidField."""
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(told.strip("[]")))
    except ValueError:
        pass
    if not NAME.fullmatch(told) or len(told) > NAME_LETTERS:
        raise InvalidField(field="name", reason=f"{told[:NAME_LETTERS]!r} is no host name or address")
    if told.lower().rstrip(".").endswith(DOMAIN):
        raise InvalidField(field="name", reason=f"{told!r} must not end with {DOMAIN}: those names are the cluster's")
    return x509.DNSName(told.lower().rstrip("."))


def _usage(**told: bool) -> Any:
    from cryptography import x509

    nothing = dict.fromkeys(
        [
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    return x509.KeyUsage(**(nothing | told))


def _common_name(told: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, told[:64])])  # X.509's limit


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _keys_in(place: Path, pem: bytes) -> dict[str, EllipticCurvePrivateKey]:
    """By the id of the authority. Raises: SettingsWrong."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    end = b"-----END PRIVATE KEY-----"
    try:
        keys = [load_pem_private_key(part + end, None) for part in pem.split(end)[:-1]]
    except (ValueError, TypeError) as error:
        raise SettingsWrong(faults=f"{place}: is damaged: {error}") from error
    return {key_digest(key.public_key())[:ID_LETTERS]: key for key in keys if isinstance(key, EllipticCurvePrivateKey)}


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)


def _seconds(moment: dt.datetime) -> int:
    return int(moment.timestamp())
