"""The papers of one party on this machine: its key, its certificate, and whom it believes.

<data folder>/certs/    mode 0700
  NAME.key              its private key, mode 0600; it never leaves this machine
  NAME.crt              its certificate
  NAME.next.key         a key whose certificate was asked for, until it came
  ca.crt                the authorities that are believed
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.errors import CloudError, PapersRefused, SettingsWrong
from cloudgrpc.rpc import Tls
from cloudgrpc.trust import private
from cloudgrpc.trust.authority import KEY_FILE, SKEW_S
from cloudgrpc.trust.bundle import CA_FILE, authorities, bundle_digest, issuer_among, key_digest, pem_of
from cloudgrpc.trust.identity import DOMAIN, THE_GATEWAY, dns_names, identity_of, serial_of

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

    from cloudgrpc.trust.identity import Identity

log = logging.getLogger(__name__)

FOLDER = "certs"
LEFT = 3  # a certificate is renewed when one part in so many of its time is left


@dataclass(frozen=True)
class _Held:
    """What was read at once. `trusted`: of the bundle."""

    key_pem: bytes
    certificate: Certificate
    trusted: list[Certificate]


class Papers:
    """Read again when the files changed: a command, or another role in this data folder, may change them."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        """`folder`: certs/. There may be no papers yet: these are then asked for."""
        self.identity = identity
        self._folder = folder
        self._key, self._next_key, self._certificate, self._trusted = (
            folder / f"{identity.name}.key",
            folder / f"{identity.name}.next.key",
            folder / f"{identity.name}.crt",
            folder / CA_FILE,
        )
        self._mark: object = None
        self._held: _Held | None = None

    @classmethod
    def open(cls, folder: Path, identity: Identity) -> Papers | None:
        """None: it has no certificate. Raises: SettingsWrong when something is damaged, missing or open to others."""
        papers = cls(folder, identity)
        if not papers.is_certified:
            return None
        papers._held, papers._mark = papers._read()
        return papers

    @property
    def is_certified(self) -> bool:
        return self._certificate.exists()

    @property
    def tls(self) -> Tls:
        """As of now; cheap enough for every connection."""
        held = self._now()
        return Tls(held.key_pem, pem_of([held.certificate]), pem_of(held.trusted))

    @property
    def bundle(self) -> bytes:
        return pem_of(self._now().trusted)

    @property
    def serial(self) -> str:
        return serial_of(self._now().certificate)

    @property
    def expires_at(self) -> float:
        """In seconds since 1970, as all times here."""
        return self._now().certificate.not_valid_after_utc.timestamp()

    @property
    def renew_at(self) -> float:
        """0, which is at once, when another authority signs than the one that signed this."""
        held = self._now()
        if issuer_among(held.certificate, held.trusted[:1]) is None:
            return 0
        return self.expires_at - lifetime_s(held.certificate) / LEFT

    @property
    def names(self) -> list[str]:
        """What it is called besides its own name: host names and addresses."""
        return names_in(self._now().certificate)

    @property
    def pending(self) -> str:
        """The digest of the key whose certificate was asked for and did not come yet; "": there is none."""
        pem, shown = private.read(self._next_key), private.read(self._certificate, is_secret=False)
        if pem is None or (shown is not None and _fits(self._next_key, pem, self._parsed(shown))):
            return ""
        return _digest_of(self._next_key, pem)

    def request(self) -> bytes:
        """A request for a certificate (PEM) for a fresh key, which is on the disk when this returns.

        Until an answer is accepted, every request is for the same key: who asks again after a lost answer is known.
        Raises: SettingsWrong, LocalFile.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import Encoding

        with private.changing(self._folder):
            self._finish()
            pem = private.read(self._next_key)
            if pem is None:
                pem = _fresh_key()
                private.write(self._next_key, pem)
        key = _loaded(self._next_key, pem)
        assert isinstance(key, EllipticCurvePrivateKey)  # noqa: S101 - as _fresh_key makes them
        return (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .sign(key, SHA256())
            .public_bytes(Encoding.PEM)
        )

    def accept(self, certificate: bytes, bundle: bytes) -> None:
        """The answer to a request. Whatever moment a crash comes, the old papers or the new ones are whole.

        Raises: PapersRefused when it does not answer the request; SettingsWrong, LocalFile.
        """
        from cryptography import x509

        with private.changing(self._folder):
            pem = private.read(self._next_key)
            try:
                shown, trusted = x509.load_pem_x509_certificate(certificate), authorities(bundle)
            except ValueError as error:
                raise PapersRefused(name=self.identity.name, reason="it cannot be read") from error
            for holds, reason in (
                (pem is not None and _fits(self._next_key, pem, shown), "it is for another key"),
                (identity_of(shown) == self.identity, "it is for somebody else"),
                (issuer_among(shown, trusted), "no authority that came with it has signed it"),
            ):
                if not holds:
                    raise PapersRefused(name=self.identity.name, reason=reason)
            self._trust(pem_of(trusted))
            # From here on the pending key is the one: whoever reads takes the key that fits.
            private.write(self._certificate, certificate)
            self._finish()
        self._now()

    def learn(self, bundle: bytes) -> bool:
        """Believe these authorities from now on; whether that is news.

        Raises: PapersRefused, SettingsWrong, LocalFile.
        """
        try:
            told = pem_of(authorities(bundle))
        except ValueError as error:
            raise PapersRefused(name=self.identity.name, reason=f"the authorities cannot be read: {error}") from error
        if bundle_digest(told) == bundle_digest(self.bundle):
            return False
        with private.changing(self._folder):
            return self._trust(told)

    def _trust(self, bundle: bytes) -> bool:
        # Where the authority itself lives, its file is not ours to write: we may have heard of it a while ago.
        if (self._folder / KEY_FILE).exists() or private.read(self._trusted, is_secret=False) == bundle:
            return False
        private.write(self._trusted, bundle)
        return True

    def _finish(self) -> None:
        """Let the pending key take its place, if its certificate came."""
        pem, shown = private.read(self._next_key), private.read(self._certificate, is_secret=False)
        if pem is not None and shown is not None and _fits(self._next_key, pem, self._parsed(shown)):
            private.rename(self._next_key, self._key)

    def _now(self) -> _Held:
        """Raises: SettingsWrong when there were never any that could be read."""
        mark = self._newest_mark()
        if self._held is None:
            self._held, self._mark = self._read()
        elif mark != self._mark:
            self._mark = mark
            try:
                self._held, self._mark = self._read()
            except CloudError as error:
                log.warning("%s (what was read before stays in use)", error)
        return self._held

    def _newest_mark(self) -> object:
        return tuple(map(private.mark_of, (self._key, self._next_key, self._certificate, self._trusted)))

    def _read(self) -> tuple[_Held, object]:
        """And what they were known by before. Raises: SettingsWrong, LocalFile."""
        while True:
            mark = self._newest_mark()
            try:
                return self._read_once(), mark
            except SettingsWrong:
                if self._newest_mark() == mark:
                    raise
                # Another process has just exchanged them: a key was read that is not that certificate's.

    def _read_once(self) -> _Held:
        """Raises: SettingsWrong, LocalFile."""
        private.check_folder(self._folder)
        shown, bundle = (private.read(path, is_secret=False) for path in (self._certificate, self._trusted))
        if shown is None or bundle is None:
            missing = self._certificate if shown is None else self._trusted
            raise SettingsWrong(faults=f"{missing}: is not there; {self._way_out}")
        certificate = self._parsed(shown)
        try:
            trusted = authorities(bundle)
        except ValueError as error:
            raise SettingsWrong(faults=f"{self._trusted}: is damaged: {error}") from error
        for place in (self._key, self._next_key):
            pem = private.read(place)
            if pem is not None and _fits(place, pem, certificate):
                return _Held(pem, certificate, trusted)
        raise SettingsWrong(faults=f"{self._key}: is not the key of {self._certificate.name}; {self._way_out}")

    def _parsed(self, pem: bytes) -> Certificate:
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise SettingsWrong(faults=f"{self._certificate}: is damaged; {self._way_out}") from error

    @property
    def _way_out(self) -> str:
        if self.identity == THE_GATEWAY:
            return "make it anew with: cloudgrpc certs init"
        return f"delete {self._certificate}, and let it join again: cloudgrpc certs invite {self.identity.name}"


def lifetime_s(certificate: Certificate) -> float:
    """For how long it was made, without the time before that makes up for clocks that differ."""
    span_s = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds()
    return span_s - SKEW_S if span_s > 2 * SKEW_S else span_s / 2


def names_in(certificate: Certificate) -> list[str]:
    from cryptography import x509

    told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(each) for each in told.get_values_for_type(x509.IPAddress)]
    return [*(name for name in dns_names(certificate) if not name.endswith(DOMAIN)), *addresses]


def _fits(place: Path, key_pem: bytes, certificate: Certificate) -> bool:
    return _digest_of(place, key_pem) == key_digest(certificate.public_key())


def _digest_of(place: Path, key_pem: bytes) -> str:
    return key_digest(_loaded(place, key_pem).public_key())  # type: ignore[arg-type]  # those of other kinds sign nothing


def _fresh_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _loaded(place: Path, pem: bytes) -> PrivateKeyTypes:
    """Raises: SettingsWrong."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise SettingsWrong(faults=f"{place}: is damaged") from error
