"""What a gateway with certificates shows: to the cluster's machines, and to people."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.core.endings import Ending, Whose, is_ending
from cloudgrpc.errors import SettingsWrong
from cloudgrpc.rpc import Tls
from cloudgrpc.trust import private
from cloudgrpc.trust.gateway_papers import authority_of, open_gateway_papers
from cloudgrpc.trust.papers import lifetime_s
from cloudgrpc.trust.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.config import Config
    from cloudgrpc.trust.authority import Authority
    from cloudgrpc.trust.papers import Papers

MICROS = 1_000_000


class GatewayTrust:
    """`own`: a certificate that people's programs believe anyhow; None: they are shown the cluster's. `authority`: None
    where it is on another machine."""

    def __init__(self, papers: Papers, own: Callable[[], Tls] | None, authority: Authority | None) -> None:
        self.papers = papers
        self._own = own
        self._authority = authority

    @classmethod
    def open(cls, config: Config) -> GatewayTrust | None:
        """None: no certificates were made, and everything is plaintext. Raises: SettingsWrong, LocalFile."""
        papers, settings = open_gateway_papers(config), config.tls
        if papers is None:
            if settings.certificate_file:
                raise SettingsWrong(
                    faults="[tls] certificate_file: is for people only; make certificates for the cluster's own"
                    " machines first: cloudgrpc certs init"
                )
            return None
        own = _from_files(settings.certificate_file, settings.key_file) if settings.certificate_file else None
        return cls(papers, own, authority_of(config))

    def tls(self) -> Tls:
        """For the cluster's machines."""
        return self.papers.tls

    def people(self) -> Tls:
        return self._own() if self._own else self.papers.tls

    def endings(self) -> list[Ending]:
        """What of this gateway's nears its end."""
        moment = int(time.time() * MICROS)
        lives = [(Whose.GATEWAY, "", *_life(self.papers.tls))]
        if self._own:
            lives.append((Whose.PEOPLE, "", *_life(self._own())))
        known = self._authority.known if self._authority else []
        lives += [(Whose.AUTHORITY, each.authority_id, 0, each.expires_at * MICROS) for each in known if each.signs]
        return [
            Ending(whose, name, ends_at)
            for whose, name, issued_at, ends_at in lives
            if is_ending(whose, issued_at, ends_at, moment)
        ]


def _life(tls: Tls) -> tuple[int, int]:
    """Of the certificate, in microseconds since 1970."""
    from cryptography import x509

    shown = x509.load_pem_x509_certificates(tls.certificate)[0]
    ends_at = int(shown.not_valid_after_utc.timestamp())
    return int((ends_at - lifetime_s(shown)) * MICROS), ends_at * MICROS


def _from_files(certificate_file: str, key_file: str) -> Callable[[], Tls]:
    """Read again when the certificate's file changes; its key is to be written before it. Raises: SettingsWrong."""
    certificate, key = Path(certificate_file).expanduser(), Path(key_file).expanduser()

    def read() -> Tls:
        shown, held = private.read(certificate, is_secret=False), private.read(key)
        for path, content in ((certificate, shown), (key, held)):
            if not content:
                raise SettingsWrong(faults=f"[tls] {path}: is not there, or empty")
        tls = Tls(held or b"", shown or b"", b"")
        if not _fit(tls):
            raise SettingsWrong(faults=f"[tls] {key}: is not the key of {certificate}, or one of them is damaged")
        return tls

    watched = Watched(certificate, read)
    return lambda: watched.value


def _fit(tls: Tls) -> bool:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        shown = x509.load_pem_x509_certificates(tls.certificate)[0].public_key()
        return load_pem_private_key(tls.key, None).public_key() == shown
    except (ValueError, TypeError):
        return False
