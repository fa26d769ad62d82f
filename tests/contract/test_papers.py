"""The authority and everybody's papers on disk: closed to others, whole after crashes, and good for what they say."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import stat
import threading
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from cloudgrpc.config import Config, Data, Gateway, Tls
from cloudgrpc.errors import (
    AuthorityInUse,
    AuthorityMissing,
    AuthorityUnknown,
    InvalidField,
    PapersRefused,
    SettingsWrong,
)
from cloudgrpc.servers.renewal import by_authority, keep_renewed
from cloudgrpc.trust import private
from cloudgrpc.trust.authority import CA_DAYS, Authority
from cloudgrpc.trust.bundle import authorities, bundle_digest
from cloudgrpc.trust.gateway_papers import certify, door_of, open_gateway_papers, reached_at
from cloudgrpc.trust.identity import THE_GATEWAY, Identity, identity_of_pem, node_identity, serial_of_pem
from cloudgrpc.trust.joined import Joined, Use, read_joined, write_joined
from cloudgrpc.trust.papers import FOLDER, Papers

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86400
NODE4 = node_identity("node4")


class Clock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "authority")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "node" / FOLDER


def join(authority: Authority, folder: Path, identity: Identity = NODE4) -> Papers:
    papers = Papers(folder, identity)
    papers.accept(authority.issue(papers.request(), identity).certificate, authority.bundle)
    return papers


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def verify(authority: Authority, pem: bytes, name: str, moment: float | None = None) -> None:
    """By somebody else's rules, as a server's and as a client's. Raises: VerificationError."""
    store = Store(authorities(authority.bundle))
    builder = PolicyBuilder().store(store).time(dt.datetime.fromtimestamp(moment or time.time(), dt.UTC))
    leaf = x509.load_pem_x509_certificate(pem)
    builder.build_server_verifier(x509.DNSName(name)).verify(leaf, [])
    builder.build_client_verifier().verify(leaf, [])


def request_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    names = x509.SubjectAlternativeName([x509.DNSName("gateway.gateway.cloudgrpc")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


# The authority


def test_an_authority_is_made_once_and_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data" / FOLDER
    assert Authority.open(folder) is None
    first = Authority.create(folder).bundle
    assert Authority.create(folder).bundle == first
    again = Authority.open(folder)
    assert again is not None
    assert again.bundle == first
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    (known,) = again.known
    assert known.signs
    assert known.expires_at == pytest.approx(time.time() + CA_DAYS * DAY_S, abs=60)


def test_what_was_signed_stays_good_when_only_the_key_is_left(tmp_path: Path, authority: Authority) -> None:
    """As after a crash between the two files of a new one, too."""
    issued = authority.issue(Papers(tmp_path / "node", NODE4).request(), NODE4)
    (tmp_path / "authority" / "ca.crt").unlink()
    again = Authority.create(tmp_path / "authority")
    assert again.known[0].authority_id == issued.issuer
    verify(again, issued.certificate, NODE4.host)


def test_an_authority_without_its_key_is_not_replaced(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "authority" / "ca.key").unlink()
    with pytest.raises(SettingsWrong, match="whose key is not here"):
        Authority.create(tmp_path / "authority")
    assert authority.bundle


@pytest.mark.parametrize("name", ["ca.key", "."])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, authority: Authority, name: str) -> None:
    path = tmp_path / "authority" / name
    path.chmod(0o755 if path.is_dir() else 0o640)
    with pytest.raises(SettingsWrong, match=r"others may .* chmod"):
        Authority.open(tmp_path / "authority")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["ca.key", "."])
def test_a_key_of_somebody_else_is_refused(tmp_path: Path, authority: Authority, name: str) -> None:
    os.chown(tmp_path / "authority" / name, 12345, 12345)
    with pytest.raises(SettingsWrong, match="belongs to another user"):
        Authority.open(tmp_path / "authority")


@pytest.mark.parametrize("name", ["ca.key", "ca.crt"])
@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_authority_is_told(tmp_path: Path, authority: Authority, name: str, content: bytes) -> None:
    (tmp_path / "authority" / name).write_bytes(content)
    request = Papers(tmp_path / "node", NODE4).request()
    with pytest.raises(SettingsWrong):
        sign_there(tmp_path / "authority", request)
    assert authority.known  # who ran goes on believing whom it did, and signs nothing
    with pytest.raises(SettingsWrong):
        authority.issue(request, NODE4)


def sign_there(folder: Path, request: bytes) -> None:
    authority = Authority.open(folder)
    assert authority is not None
    authority.issue(request, NODE4)


def test_a_certificate_is_good_for_its_holder_as_server_and_as_client(authority: Authority, folder: Path) -> None:
    papers = join(authority, folder)
    verify(authority, papers.tls.certificate, NODE4.host)
    assert identity_of_pem(papers.tls.certificate) == NODE4
    for name in ("node5.node.cloudgrpc", THE_GATEWAY.host):
        with pytest.raises(VerificationError):
            verify(authority, papers.tls.certificate, name)


def test_a_certificate_is_good_for_its_days_and_a_little_before(authority: Authority, folder: Path) -> None:
    papers = join(authority, folder)
    now = time.time()
    for moment in (now - 200, now + 89.9 * DAY_S):
        verify(authority, papers.tls.certificate, NODE4.host, moment)
    for moment in (now - 400, now + 90.1 * DAY_S):
        with pytest.raises(VerificationError):
            verify(authority, papers.tls.certificate, NODE4.host, moment)


def test_a_strangers_certificate_is_not_good_here(tmp_path: Path, authority: Authority, folder: Path) -> None:
    papers = join(Authority.create(tmp_path / "stranger"), folder)
    with pytest.raises(VerificationError):
        verify(authority, papers.tls.certificate, NODE4.host)


def test_what_a_request_says_of_itself_is_not_believed(authority: Authority) -> None:
    issued = authority.issue(request_of(ec.generate_private_key(ec.SECP256R1())), NODE4)
    assert identity_of_pem(issued.certificate) == NODE4


def test_requests_that_are_none_are_refused(authority: Authority) -> None:
    good = request_of(ec.generate_private_key(ec.SECP256R1()))
    damaged = x509.load_pem_x509_csr(good).public_bytes(Encoding.DER)
    forged = damaged[:-1] + bytes([damaged[-1] ^ 1])
    for request in (
        b"",
        b"nonsense",
        good[:-60],
        x509.load_der_x509_csr(forged).public_bytes(Encoding.PEM),
        request_of(rsa.generate_private_key(65537, 2048)),
        request_of(ec.generate_private_key(ec.SECP384R1())),
    ):
        with pytest.raises(InvalidField, match="csr"):
            authority.issue(request, NODE4)


@pytest.mark.parametrize(
    "name", ["", "a b", "node5.node.cloudgrpc", "X.CloudGrpc", "x.cloudgrpc.", "a/b", "é.org", "a" * 300, "a..b", "*"]
)
def test_no_name_is_given_that_is_the_clusters_or_none(authority: Authority, folder: Path, name: str) -> None:
    with pytest.raises(InvalidField):
        authority.issue(Papers(folder, THE_GATEWAY).request(), THE_GATEWAY, [name])


# Papers


def test_a_key_is_asked_for_until_its_answer_came(authority: Authority, folder: Path) -> None:
    papers = Papers(folder, NODE4)
    first = x509.load_pem_x509_csr(papers.request()).public_key()
    assert x509.load_pem_x509_csr(Papers(folder, NODE4).request()).public_key() == first
    assert not papers.is_certified
    assert papers.pending
    join(authority, folder)
    assert papers.pending == ""
    assert x509.load_pem_x509_csr(papers.request()).public_key() != first


def test_papers_are_closed_to_others_and_refused_when_they_are_not(authority: Authority, folder: Path) -> None:
    join(authority, folder)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    (folder / "node4.key").chmod(0o604)
    with pytest.raises(SettingsWrong, match="chmod 600"):
        Papers.open(folder, NODE4)


def test_who_did_not_join_has_no_papers(authority: Authority, folder: Path) -> None:
    assert Papers.open(folder, NODE4) is None
    Papers(folder, NODE4).request()
    assert Papers.open(folder, NODE4) is None
    join(authority, folder)
    assert Papers.open(folder, node_identity("node5")) is None


def test_an_answer_to_somebody_else_changes_nothing(tmp_path: Path, authority: Authority, folder: Path) -> None:
    papers = join(authority, folder)
    request, stranger = papers.request(), Authority.create(tmp_path / "stranger")
    other_key = Papers(tmp_path / "other", NODE4).request()
    before = snapshot(folder)
    for certificate, bundle in (
        (authority.issue(other_key, NODE4).certificate, authority.bundle),
        (authority.issue(request, node_identity("node5")).certificate, authority.bundle),
        (authority.issue(request, THE_GATEWAY).certificate, authority.bundle),
        (stranger.issue(request, NODE4).certificate, authority.bundle),
        (authority.issue(request, NODE4).certificate, stranger.bundle),
        (authority.issue(request, NODE4).certificate, papers.tls.certificate),
        (b"", authority.bundle),
        (authority.issue(request, NODE4).certificate, b""),
    ):
        with pytest.raises(PapersRefused):
            papers.accept(certificate, bundle)
        assert snapshot(folder) == before


def test_a_crash_before_the_certificate_leaves_the_old_papers_and_the_same_request(
    authority: Authority, folder: Path
) -> None:
    papers = join(authority, folder)
    serial, request = papers.serial, papers.request()
    again = Papers.open(folder, NODE4)
    assert again is not None
    assert again.serial == serial
    again.accept(authority.issue(request, NODE4).certificate, authority.bundle)
    assert again.serial != serial


def test_a_crash_after_the_certificate_leaves_the_new_papers(authority: Authority, folder: Path) -> None:
    papers = join(authority, folder)
    old_key = (folder / "node4.key").read_bytes()
    papers.request()
    new_key = (folder / "node4.next.key").read_bytes()
    papers.accept(authority.issue(papers.request(), NODE4).certificate, authority.bundle)
    serial = papers.serial
    # As if the key had not been moved yet.
    (folder / "node4.key").write_bytes(old_key)
    private.write(folder / "node4.next.key", new_key)
    again = Papers.open(folder, NODE4)
    assert again is not None
    assert again.serial == serial
    assert again.tls.key == new_key
    assert again.pending == ""
    again.request()  # the next one finishes the move
    assert (folder / "node4.key").read_bytes() == new_key


def test_papers_that_change_are_read_again(authority: Authority, folder: Path) -> None:
    papers = join(authority, folder)
    before = papers.tls
    join(authority, folder)  # by another process
    assert papers.tls != before
    assert papers.serial == serial_of_pem(papers.tls.certificate)


def test_papers_are_whole_however_often_another_process_exchanges_them(authority: Authority, folder: Path) -> None:
    join(authority, folder)
    is_over = threading.Event()

    def exchange() -> None:
        for _ in range(30):
            join(authority, folder)
        is_over.set()

    other = threading.Thread(target=exchange)
    other.start()
    while not is_over.is_set():
        papers = Papers.open(folder, NODE4)
        assert papers is not None
        tls = papers.tls
        key = load_pem_private_key(tls.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.public_key() == x509.load_pem_x509_certificate(tls.certificate).public_key()
    other.join()


def test_papers_that_break_while_a_role_runs_stay_as_they_were(authority: Authority, folder: Path) -> None:
    papers = join(authority, folder)
    before = papers.tls
    (folder / "node4.crt").write_bytes(b"nonsense")
    assert papers.tls == before
    with pytest.raises(SettingsWrong, match="certs invite node4"):
        Papers.open(folder, NODE4)
    (folder / "node4.crt").unlink()
    assert papers.tls == before


@pytest.mark.parametrize("name", ["node4.key", "ca.crt"])
def test_papers_of_which_a_part_is_missing_are_refused(authority: Authority, folder: Path, name: str) -> None:
    join(authority, folder)
    (folder / name).unlink()
    with pytest.raises(SettingsWrong):
        Papers.open(folder, NODE4)


def test_a_key_that_is_not_the_certificates_is_refused(authority: Authority, folder: Path) -> None:
    join(authority, folder)
    key = ec.generate_private_key(ec.SECP256R1())
    private.write(folder / "node4.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SettingsWrong, match="is not the key of"):
        Papers.open(folder, NODE4)


def test_a_key_is_not_shown_by_accident(authority: Authority, folder: Path) -> None:
    assert b"PRIVATE KEY" in join(authority, folder).tls.key
    assert "PRIVATE KEY" not in repr(join(authority, folder).tls)


@pytest.mark.parametrize("days", [90, 1, 300 / DAY_S, 3 / DAY_S])
def test_papers_are_due_when_a_third_of_their_time_is_left(
    tmp_path: Path, folder: Path, days: float, clock: Clock
) -> None:
    papers = join(Authority.create(tmp_path / "a", days, clock), folder)
    assert papers.expires_at == pytest.approx(clock.now + days * DAY_S, abs=2)
    assert papers.renew_at == pytest.approx(clock.now + days * DAY_S * 2 / 3, abs=2)


# Several authorities


def test_the_authority_is_exchanged_without_a_moment_of_distrust(authority: Authority, folder: Path) -> None:
    papers = join(authority, folder)
    old, old_certificate = authority.known[0].authority_id, papers.tls.certificate
    new = authority.add_ca()
    assert [(each.authority_id, each.signs) for each in authority.known] == [(old, True), (new, False)]
    assert papers.learn(authority.bundle)
    assert not papers.learn(authority.bundle)
    assert papers.renew_at > time.time()
    assert join(authority, folder / "x").serial  # the old one signs still
    authority.use_ca(new)
    assert papers.learn(authority.bundle)
    assert papers.renew_at == 0
    verify(authority, old_certificate, NODE4.host)
    renewed = authority.issue(papers.request(), NODE4)
    assert renewed.issuer == new
    papers.accept(renewed.certificate, authority.bundle)
    assert papers.renew_at > time.time()
    with pytest.raises(AuthorityInUse):
        authority.remove_ca(new)
    authority.remove_ca(old)
    assert papers.learn(authority.bundle)
    assert [each.authority_id for each in authority.known] == [new]
    verify(authority, papers.tls.certificate, NODE4.host)
    with pytest.raises(VerificationError):
        verify(authority, old_certificate, NODE4.host)
    for step in (authority.use_ca, authority.remove_ca):
        with pytest.raises(AuthorityUnknown):
            step(old)


def test_an_authority_that_runs_sees_what_a_command_changed(tmp_path: Path, authority: Authority, folder: Path) -> None:
    command = Authority.open(tmp_path / "authority")
    assert command is not None
    new = command.add_ca()
    command.use_ca(new)
    assert authority.issue(Papers(folder, NODE4).request(), NODE4).issuer == new
    assert bundle_digest(authority.bundle) == bundle_digest(command.bundle)


def test_the_key_of_a_removed_authority_is_gone(tmp_path: Path, authority: Authority) -> None:
    old_key = (tmp_path / "authority" / "ca.key").read_bytes()
    new = authority.add_ca()
    assert old_key in (tmp_path / "authority" / "ca.key").read_bytes()
    authority.use_ca(new)
    authority.remove_ca(next(each.authority_id for each in authority.known if not each.signs))
    assert old_key not in (tmp_path / "authority" / "ca.key").read_bytes()


def test_what_is_no_list_of_authorities_is_not_believed(authority: Authority, folder: Path) -> None:
    papers = join(authority, folder)
    for junk in (b"", b"nonsense", papers.tls.certificate, papers.tls.certificate + authority.bundle):
        with pytest.raises(PapersRefused):
            papers.learn(junk)
    assert bundle_digest(papers.bundle) == bundle_digest(authority.bundle)


def test_a_node_in_the_gateways_folder_never_writes_the_authoritys_file(tmp_path: Path, authority: Authority) -> None:
    papers = join(authority, tmp_path / "authority")
    stale = authority.bundle
    authority.add_ca()
    assert not papers.learn(stale)
    assert len(authority.known) == 2


# The gateway's own


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=Data(folder=str(tmp_path / "data")), gateway=Gateway(host="0.0.0.0"))


def test_a_gateway_without_an_authority_speaks_plaintext(config: Config) -> None:
    assert open_gateway_papers(config) is None


def test_a_gateway_finishes_what_init_began_and_renews_what_is_due(config: Config, clock: Clock) -> None:
    authority = Authority.create(config.data_folder / FOLDER)
    papers = open_gateway_papers(config, clock)
    assert papers is not None
    assert {"localhost", "127.0.0.1"} <= set(papers.names)
    serial = certify(authority, papers, ["drive.example.org", "192.0.2.5"])
    clock.now = papers.renew_at - 60
    again = open_gateway_papers(config, clock)
    assert again is not None
    assert again.serial == serial
    clock.now = papers.expires_at + 60
    renewed = open_gateway_papers(config, clock)
    assert renewed is not None
    assert renewed.serial != serial
    assert renewed.names == ["drive.example.org", "192.0.2.5"]


def test_those_who_join_find_the_gateway_by_its_name_and_know_it(config: Config) -> None:
    authority = Authority.create(config.data_folder / FOLDER)
    papers = Papers(config.data_folder / FOLDER, THE_GATEWAY)
    certify(authority, papers, ["localhost", "127.0.0.1", "drive.example.org"])
    assert reached_at(config, papers) == "drive.example.org"
    root, name = door_of(config, papers)
    assert name == THE_GATEWAY.host
    (known,) = authorities(authority.bundle)
    assert root == known.public_bytes(Encoding.DER)


def test_where_people_are_shown_another_certificate_that_one_is_known(config: Config, tmp_path: Path) -> None:
    certify(Authority.create(config.data_folder / FOLDER), Papers(config.data_folder / FOLDER, THE_GATEWAY), ["x.org"])
    world = Authority.create(tmp_path / "world")
    own = world.issue(Papers(tmp_path / "own", NODE4).request(), NODE4, ["*.example.org"]).certificate
    (tmp_path / "own.crt").write_bytes(own + world.bundle)
    other = Config(data=config.data, tls=Tls(certificate_file=str(tmp_path / "own.crt")))
    root, _name = door_of(other, Papers(config.data_folder / FOLDER, THE_GATEWAY))
    assert root == x509.load_pem_x509_certificate(own).public_bytes(Encoding.DER)


def test_a_certificate_that_is_due_renews_itself_while_its_role_runs(tmp_path: Path) -> None:
    authority, papers = Authority.create(tmp_path / FOLDER, 1 / DAY_S), Papers(tmp_path / FOLDER, THE_GATEWAY)
    serial = certify(authority, papers, ["drive.example.org"])

    async def renewed() -> None:
        task = asyncio.create_task(keep_renewed(papers, by_authority(authority, papers)))
        while papers.serial == serial:
            assert not task.done()
            await asyncio.sleep(0.02)
        task.cancel()

    asyncio.run(asyncio.wait_for(renewed(), 20))
    assert papers.names == ["drive.example.org"]


def test_whatever_keeps_a_certificate_from_being_renewed_it_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, papers = Authority.create(tmp_path / FOLDER, 1 / DAY_S), Papers(tmp_path / FOLDER, THE_GATEWAY)
    certify(authority, papers, [])
    failures = [OSError(28, "No space left on device"), ValueError("not foreseen"), AuthorityMissing()]
    tried = []

    async def renew() -> None:
        tried.append(len(tried))
        if failures:
            raise failures.pop(0)

    async def until_it_went() -> None:
        task = asyncio.create_task(keep_renewed(papers, renew))
        while len(tried) < 4:
            assert not task.done()
            await asyncio.sleep(0.02)
        task.cancel()

    asyncio.run(asyncio.wait_for(until_it_went(), 20))
    assert "is not renewed: OSError: [Errno 28] No space left on device" in caplog.text


# Where a machine joined


def test_what_a_machine_joined_is_kept(folder: Path) -> None:
    private.make_folder(folder)
    assert read_joined(folder) is None
    joined = Joined("c" * 32, "192.0.2.5", 50051, "192.0.2.5", 50052, {"node4": Use("code", "key")})
    write_joined(folder, joined)
    assert read_joined(folder) == joined
    (folder / "joined.json").write_text("{")
    with pytest.raises(SettingsWrong, match="damaged"):
        read_joined(folder)
