"""Whom a person's programs believe to be a gateway, and where it is kept which of them speak TLS.

<config folder>/cloudgrpc/
    gateways.json       gateway address -> the authorities it is believed by (PEM; "": the system's)
    gateways.lock       held while the file is changed
"""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cloudgrpc import rpc
from cloudgrpc.clients.session import Gateway, config_folder, write_private
from cloudgrpc.errors import LocalFile, SettingsWrong
from cloudgrpc.rpc import Tls

if TYPE_CHECKING:
    from cloudgrpc.config import Config

OWN_CA = Path("certs", "ca.crt")  # in the data folder of a gateway or a node


class KnownGateways:
    """Those that were once spoken to with TLS. They are never spoken to without it again."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "gateways.json"
        self._folder = folder

    def roots(self, address: str) -> str | None:
        """None: it is not known to speak TLS. Raises: LocalFile, when the file is there and cannot be read: to go on
        without it could mean plaintext."""
        return self._read().get(_key(address))

    def remember(self, address: str, roots: str) -> None:
        if self._read().get(_key(address)) == roots:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self._folder / "gateways.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = self._read() | {_key(address): roots}
                write_private(self.file, [msgspec.json.format(msgspec.json.encode(known))])
        except OSError as error:
            raise LocalFile(path=error.filename or self._folder, reason=error.strerror or error) from error

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LocalFile(path=self.file, reason=f"it is damaged: {error}") from error
        except OSError as error:
            raise LocalFile(path=self.file, reason=error.strerror or error) from error


def connected(config: Config, address: str, *, wants_system: bool = False, remembers: bool = True) -> Gateway:
    """To the gateway at `address`: with TLS when the settings (--ca, --tls) say so, when it was spoken to so before, or
    when it is this data folder's own and has certificates. What was said and worked is remembered.

    `wants_system`: --tls, by the authorities that this system trusts. `remembers`: False for who only looks.
    Raises: SettingsWrong, LocalFile; PlaintextCall when plaintext would leave this machine and nobody allowed it.
    """
    known = KnownGateways(config_folder())
    roots = _told(config, wants_system=wants_system)
    if roots is None and address == config.gateway_address:
        roots = _own(config, address)  # is always as of now; what is remembered may be of before another authority
    if roots is None:
        roots = known.roots(address)
    if roots is None:
        own = _own(config, address)
        if own is None:
            rpc.check_call(address, config.cluster.allow_plaintext)
        return Gateway(address) if own is None else Gateway(address, Tls(b"", b"", own.encode()))
    used = roots
    way_out = f"take {address} out of {known.file}"

    def met() -> None:
        try:
            known.remember(address, used)
        except LocalFile as error:  # what was asked for is done all the same
            print(f"That {address} speaks TLS is not remembered: {error}", file=sys.stderr)

    return Gateway(address, Tls(b"", b"", used.encode()), on_met=met if remembers else lambda: None, way_out=way_out)


def _told(config: Config, *, wants_system: bool) -> str | None:
    """None: by no setting."""
    if wants_system:
        return ""
    return _authorities(Path(config.tls.ca_file).expanduser()) if config.tls.ca_file else None


def _own(config: Config, address: str) -> str | None:
    """What lies in the data folder, for the gateway on this machine; None: it has no certificates there."""
    is_here = address == config.gateway_address or rpc.is_loopback(address.rpartition(":")[0])
    place = config.data_folder / OWN_CA
    return _authorities(place) if is_here and not config.tls.certificate_file and place.is_file() else None


def _authorities(path: Path) -> str:
    try:
        told = path.read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        raise SettingsWrong(faults=f"{path}: holds no certificate (PEM)") from error
    except OSError as error:
        raise LocalFile(path=path, reason=error.strerror or error) from error
    if "-----BEGIN CERTIFICATE-----" not in told:
        raise SettingsWrong(faults=f"{path}: holds no certificate (PEM)")
    return told


def _key(address: str) -> str:
    return address.strip().lower()
