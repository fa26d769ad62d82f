"""Machines join a real gateway, renew, and are shut out: by the program itself and by calls of all kinds."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc import cli, rpc
from cloudgrpc.config import Cluster as Settings
from cloudgrpc.config import Config, Data
from cloudgrpc.core.join_code import JoinCode, decoded, encoded
from cloudgrpc.errors import (
    Exit,
    FolderForeign,
    JoinCodeElsewhere,
    JoinCodeForOther,
    LocalFile,
    PapersExpired,
    PlaintextExpected,
    SettingsWrong,
    UsageWrong,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb import cloud_storage_pb2_grpc as stubs
from cloudgrpc.servers import joining
from cloudgrpc.trust import private
from cloudgrpc.trust.authority import Authority
from cloudgrpc.trust.gateway_papers import certify
from cloudgrpc.trust.identity import THE_GATEWAY, identity_of_pem, node_identity
from cloudgrpc.trust.joined import Joined, write_joined
from cloudgrpc.trust.papers import FOLDER, Papers
from cloudgrpc.trust.secrets import CLUSTER, shared_secret
from cluster_harness import PATIENT, Cluster
from every_rpc import call, cluster_secret
from operating import admin_key
from program import HOST, free_port
from tls_cluster import TlsCluster, tls_channel
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsCluster]:
    cluster = TlsCluster(tmp_path_factory.mktemp("joining"), nodes=0, **PATIENT)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("plain"), nodes=0)
    try:
        yield cluster.start()
    finally:
        cluster.close()


class Machine:
    """Another machine, with a data folder of its own."""

    def __init__(self, cluster: TlsCluster, folder: Path) -> None:
        self.cluster = cluster
        self.config = Config(data=Data(folder=str(folder)))
        self.certs = folder / FOLDER

    def join(self, code: str, node_id: str) -> bool:
        return asyncio.run(joining.join(self.config, node_id, code))

    def papers(self, node_id: str) -> Papers:
        found = Papers.open(self.certs, node_identity(node_id))
        assert found is not None
        return found


@pytest.fixture
def machine(cluster: TlsCluster, tmp_path: Path) -> Machine:
    return Machine(cluster, tmp_path / "machine")


def join_by_call(cluster: Cluster, **told: Any) -> pb.JoinResponse:
    return stubs.JoinServiceStub(cluster.channel).Join(pb.JoinRequest(**told), timeout=CALL_S)


def refusal(cluster: Cluster, **told: Any) -> tuple[str, str]:
    outcome = call(cluster.channel, "JoinService/Join", [pb.JoinRequest(**told)])
    return outcome.status, outcome.code


def events(cluster: Cluster, kind: str) -> list[str]:
    return [row[0] for row in cluster.rows(f"SELECT message FROM event WHERE kind = '{kind}' ORDER BY event_id")]


def certs(*words: object, exit_code: int = 0) -> tuple[str, str]:
    """What the command tells on stdout and stderr; in this process, which saves the start of a program each time."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO())
        left = cli.run(["certs", *map(str, words)])
    assert left == exit_code, f"{left}:\n{out.getvalue()}{err.getvalue()}"
    return out.getvalue(), err.getvalue()


def at(cluster: Cluster) -> list[object]:
    return ["--gateway", cluster.address, "--data-dir", cluster.data]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What programs remember of gateways is not the developer's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


# Joining


def test_a_machine_joins_by_its_code_and_needs_none_later(cluster: TlsCluster, tmp_path: Path) -> None:
    folder = tmp_path / "machine"
    code = tmp_path / "code"
    code.write_text(cluster.invite("node1"))
    port, gateway = free_port(), ["--host", HOST, "--data-dir", str(folder)]
    words = ["node", "node1", str(port), "1", *gateway]
    node = cluster._program("node1", [*words, "--join", str(code)], {})
    node.start()
    cluster.wait(lambda: "joined the gateway" in node.out.read_text(), what="node1 online")
    assert (folder / "secrets" / "cluster.key").read_text().split() == [cluster_secret(cluster)]
    assert not list((folder / FOLDER).glob("*.next.key"))
    assert any("node1 joined" in each for each in events(cluster, "certificate.issued"))
    node.stop()
    node = cluster._program("node1", words, {})
    node.start()
    cluster.wait(lambda: node.out.read_text().count("joined the gateway") == 2, what="node1 online again")
    node.stop()


def test_the_same_code_again_is_not_asked_about(machine: Machine) -> None:
    code = machine.cluster.invite("node2")
    assert machine.join(code, "node2")
    serial = machine.papers("node2").serial
    assert not machine.join(code, "node2")
    assert machine.papers("node2").serial == serial
    # Once a renewal was asked for and not answered, too.
    machine.papers("node2").request()
    assert not machine.join(code, "node2")
    assert machine.join(machine.cluster.invite("node2"), "node2")
    assert machine.papers("node2").serial != serial


def test_a_join_whose_answer_was_lost_is_made_again(machine: Machine) -> None:
    code = machine.cluster.invite("node3")
    papers = Papers(machine.certs, node_identity("node3"))
    join_by_call(machine.cluster, secret=decoded(code).secret, node_id="node3", csr=papers.request())
    assert machine.join(code, "node3")


@pytest.mark.parametrize("broken_off", ["before the certificate", "after it"])
def test_a_join_that_a_crash_broke_off_comes_to_its_end(machine: Machine, broken_off: str) -> None:
    code = machine.cluster.invite("node3")
    assert machine.join(code, "node3")
    key, pending = machine.certs / "node3.key", machine.certs / "node3.next.key"
    key.rename(pending)
    if broken_off == "before the certificate":
        (machine.certs / "node3.crt").unlink()
    assert machine.join(code, "node3") is (broken_off == "before the certificate")
    assert machine.papers("node3").serial


def test_a_node_that_joins_anew_and_is_broken_off_does_not_go_on_with_what_it_had(machine: Machine) -> None:
    """It was revoked, say."""
    assert machine.join(machine.cluster.invite("node3"), "node3")
    files = [machine.certs / name for name in ("node3.crt", "node3.key")]
    before = [path.read_bytes() for path in files]
    code = machine.cluster.invite("node3")
    assert machine.join(code, "node3")
    (machine.certs / "node3.key").rename(machine.certs / "node3.next.key")
    for path, content in zip(files, before, strict=True):
        private.write(path, content)
    assert machine.join(code, "node3")
    assert machine.papers("node3").tls.certificate != before[0]


def test_the_clusters_secret_takes_the_place_of_one_that_was_made_here(machine: Machine) -> None:
    cluster, alone = machine.cluster, machine.config
    shared_secret(alone, CLUSTER)  # of a node that ran by itself before
    code = cluster.invite("node3")
    machine.config = Config(data=alone.data, cluster=Settings(secret="another secret, given in the settings"))
    with pytest.raises(SettingsWrong, match="take the setting away"):
        machine.join(code, "node3")
    machine.config = alone
    assert machine.join(code, "node3")
    assert shared_secret(alone, CLUSTER) == cluster_secret(cluster)


def test_two_nodes_may_join_from_one_folder(machine: Machine) -> None:
    for node_id in ("node2", "node3"):
        assert machine.join(machine.cluster.invite(node_id), node_id)
    assert {machine.papers(each).identity.name for each in ("node2", "node3")} == {"node2", "node3"}


def test_a_node_may_live_in_the_gateways_own_folder(cluster: TlsCluster) -> None:
    machine = Machine(cluster, cluster.data)
    before = (cluster.certs / "ca.crt").read_bytes(), cluster_secret(cluster)
    assert machine.join(cluster.invite("node2"), "node2")
    assert ((cluster.certs / "ca.crt").read_bytes(), cluster_secret(cluster)) == before


def test_a_stolen_code_is_of_no_use_and_the_record_tells(machine: Machine, tmp_path: Path) -> None:
    code = machine.cluster.invite("node3")
    assert machine.join(code, "node3")
    thief = Papers(tmp_path / "thief", node_identity("node3"))
    told = {"secret": decoded(code).secret, "node_id": "node3", "csr": thief.request()}
    assert refusal(machine.cluster, **told) == ("UNAUTHENTICATED", "join_code_used")
    machine.cluster.wait(lambda: events(machine.cluster, "refused.join_code_used"), what="the event")
    assert "node3" in events(machine.cluster, "refused.join_code_used")[0]


def test_codes_that_do_not_fit_are_refused_with_the_reason(cluster: TlsCluster, tmp_path: Path) -> None:
    secret, csr = decoded(cluster.invite("node3")).secret, Papers(tmp_path / "x", node_identity("node3")).request()
    assert refusal(cluster, secret="a guess", node_id="node3", csr=csr)[1] == "join_code_unknown"
    assert refusal(cluster, secret="", node_id="node3", csr=csr)[1] == "join_code_unknown"
    assert refusal(cluster, secret=secret, node_id="node4", csr=csr)[1] == "join_code_for_other"
    assert refusal(cluster, secret=secret, node_id="\0", csr=csr) == ("INVALID_ARGUMENT", "invalid_field")
    assert refusal(cluster, secret=secret, node_id="node3", csr=b"junk") == ("INVALID_ARGUMENT", "invalid_field")
    a_minute_ago = int((time.time() - 60) * 1_000_000)  # what is over for long is forgotten, and then it is unknown
    newest = "SELECT digest FROM invite ORDER BY created_at DESC LIMIT 1"
    cluster.change(f"UPDATE invite SET expires_at = {a_minute_ago} WHERE digest IN ({newest})")
    assert refusal(cluster, secret=secret, node_id="node3", csr=csr)[1] == "join_code_expired"


def test_a_code_for_another_node_is_told_before_anything_is_sent(machine: Machine) -> None:
    with pytest.raises(JoinCodeForOther, match="node9"):
        machine.join(machine.cluster.invite("node3"), "node9")
    assert not machine.certs.exists()


def test_a_machine_of_another_cluster_is_left_alone(machine: Machine) -> None:
    private.make_folder(machine.certs)
    write_joined(machine.certs, Joined("another", "192.0.2.1", 1, "192.0.2.1", 2))
    with pytest.raises(FolderForeign, match="another cluster"):
        machine.join(machine.cluster.invite("node3"), "node3")


def test_the_folder_of_another_gateway_is_left_alone(machine: Machine) -> None:
    theirs = Authority.create(machine.certs).bundle
    with pytest.raises(FolderForeign, match="gateway of another cluster"):
        machine.join(machine.cluster.invite("node3"), "node3")
    assert (machine.certs / "ca.crt").read_bytes() == theirs
    assert not (machine.certs / "node3.crt").exists()


def changed(code: str, **fields: Any) -> str:
    told = decoded(code)
    return encoded(JoinCode(**({name: getattr(told, name) for name in told.__struct_fields__} | fields)))


def test_at_another_machine_than_the_codes_nothing_is_sent(machine: Machine, plain: Cluster, tmp_path: Path) -> None:
    code = machine.cluster.invite("node3")
    stranger = TlsCluster(tmp_path / "stranger", nodes=0)
    try:
        with pytest.raises(JoinCodeElsewhere, match="another authority"):
            machine.join(changed(stranger_code(stranger), host=HOST, port=machine.cluster.port), "node3")
    finally:
        stranger.close()
    with pytest.raises(PlaintextExpected) as refused:
        machine.join(changed(code, port=plain.port), "node3")
    assert "certs init" in refused.value.advice
    assert machine.join(code, "node3")  # it was not used up


def stranger_code(stranger: TlsCluster) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    root = x509.load_pem_x509_certificate(stranger.authority.bundle).public_bytes(Encoding.DER)
    return encoded(JoinCode("node3", "c" * 32, HOST, 1, THE_GATEWAY.host, root, "a secret"))


def test_a_code_is_read_from_a_file_or_standard_input(
    cluster: TlsCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").write_text("a code\n")
    assert joining.read_code(str(tmp_path / "code")) == "a code\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("a code\nand more"))
    assert joining.read_code("-") == "a code\n"
    with pytest.raises(LocalFile):
        joining.read_code(str(tmp_path / "nothing"))
    words = ["node", "node9", str(free_port()), "1", "--data-dir", str(tmp_path / "x"), "--join", "-"]
    told = subprocess.run(
        [sys.executable, "-m", "cloudgrpc", *words],
        input=cluster.invite("node3"),
        env=cluster.environment(),
        cwd=cluster.logs,
        capture_output=True,
        text=True,
        timeout=CALL_S,
        check=False,
    )
    assert told.returncode == 11
    assert "for another node than node9" in told.stderr


def test_without_an_authority_nobody_is_invited(plain: Cluster) -> None:
    request = pb.InviteNodeRequest(admin_key=admin_key(plain), node_id="node3")
    with pytest.raises(grpc.RpcError, match="no authority") as refused:
        plain.admin.InviteNode(request, timeout=CALL_S)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refusal(plain, secret="x", node_id="node3", csr=b"x") == ("FAILED_PRECONDITION", "authority_missing")
    assert "certs init" in certs(*at(plain), "list")[0]
    assert "cloudgrpc certs init" in certs(*at(plain), "invite", "node3", exit_code=15)[1]


def test_a_node_with_a_certificate_that_is_over_says_what_to_do(machine: Machine, tmp_path: Path) -> None:
    past = Authority.create(tmp_path / "past", clock=lambda: time.time() - 100 * 86400)
    papers = Papers(machine.certs, node_identity("node3"))
    papers.accept(past.issue(papers.request(), papers.identity).certificate, past.bundle)
    with pytest.raises(PapersExpired, match="node3") as refused:
        joining.papers_of(machine.config, "node3")
    assert "certs invite" in refused.value.advice


# Renewing


def renew(cluster: TlsCluster, papers: Papers, node_id: str = "") -> pb.RenewCertificateResponse:
    request = pb.RenewCertificateRequest(node_id=node_id or papers.identity.name, csr=papers.request())
    with closing(tls_channel(cluster.cluster_port, papers.tls, THE_GATEWAY)) as channel:
        metadata = ((rpc.SECRET_KEY, cluster_secret(cluster)),)
        return stubs.NodeServiceStub(channel).RenewCertificate(request, timeout=CALL_S, metadata=metadata)


def test_a_node_renews_its_own_certificate_until_it_is_revoked(machine: Machine) -> None:
    cluster = machine.cluster
    machine.join(cluster.invite("node5"), "node5")
    papers = machine.papers("node5")
    before = papers.tls
    reply = renew(cluster, papers)
    assert identity_of_pem(reply.certificate) == node_identity("node5")
    papers.accept(reply.certificate, reply.authorities)
    assert papers.tls.key != before.key
    with pytest.raises(grpc.RpcError, match="needs the certificate of"):
        renew(cluster, papers, "node6")
    key = admin_key(cluster)
    told = cluster.admin.RevokeNode(pb.RevokeNodeRequest(admin_key=key, node_id="node5"), timeout=CALL_S)
    assert papers.serial in told.serials
    with pytest.raises(grpc.RpcError, match="was revoked"):
        renew(cluster, papers)
    assert any("node5" in each for each in events(cluster, "certificate.revoked"))
    with pytest.raises(grpc.RpcError, match="no certificate that is good"):
        cluster.admin.RevokeNode(pb.RevokeNodeRequest(admin_key=key, node_id="node5"), timeout=CALL_S)


def test_a_removed_node_ends_and_says_why_and_one_of_its_name_joins_by_a_new_code(machine: Machine) -> None:
    cluster, data = machine.cluster, machine.certs.parent
    machine.join(cluster.invite("node9"), "node9")
    node = cluster.start_node("node9", data=data)
    assert "certificates are revoked" in operate(cluster, "node", "remove", "node9", "--yes")
    for _ in range(2):  # while it runs, and when it is started again
        assert node.wait() == Exit.NOT_NOW
        assert "Node node9 was removed from the cluster by an operator" in node.err.read_text()
        assert "certs invite" in node.err.read_text().splitlines()[-1]
        node.start()
    assert node.wait() == Exit.NOT_NOW
    (data / "node_storage_node9").rename(data / "away")
    machine.join(cluster.invite("node9"), "node9")
    node.start()
    cluster.wait(lambda: "node9" in cluster.online(), what="another node9")
    node.stop()


def operate(cluster: Cluster, *words: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert cli.run(["admin", *map(str, at(cluster)), *words]) == 0
    return out.getvalue()


def test_gateway_and_nodes_follow_another_authority_while_they_run(machine: Machine) -> None:
    cluster = machine.cluster
    machine.join(cluster.invite("node8"), "node8")
    node = cluster.start_node("node8", data=machine.certs.parent)
    old = cluster.authority.known[0].authority_id

    def listed() -> pb.ListCertificatesResponse:
        with closing(tls_channel(cluster.port, cluster.people)) as channel:
            request = pb.ListCertificatesRequest(admin_key=admin_key(cluster))
            return stubs.AdminServiceStub(channel).ListCertificates(request, timeout=CALL_S)

    new = cluster.authority.add_ca()
    cluster.wait(lambda: "node8" not in listed().nodes_behind, what="the node believing both")
    cluster.authority.use_ca(new)
    cluster.wait(lambda: authority_of(listed(), "node8") == new, what="a certificate by the new one")
    cluster.authority.remove_ca(old)
    cluster.wait(lambda: machine.papers("node8").bundle == cluster.authority.bundle, what="the old one being forgotten")
    cluster.wait(lambda: is_believed(cluster), what="a gateway's certificate by the new one")
    ((heard_at,),) = cluster.rows(SIGN_OF_LIFE)
    cluster.wait(lambda: cluster.rows(SIGN_OF_LIFE) > [(heard_at,)], what="the node being heard as before")
    assert identity_of_pem(machine.papers("node8").tls.certificate) == node_identity("node8")
    gone = "SELECT count(*) FROM event WHERE kind = 'node.offline' AND node_id = 'node8'"
    assert cluster.rows(gone) == [(0,)]
    node.stop()
    cluster.channel.close()
    cluster._channel = None  # it believed the old one


SIGN_OF_LIFE = "SELECT last_heartbeat_at FROM node WHERE node_id = 'node8'"


def is_believed(cluster: TlsCluster) -> bool:
    """By people who trust the authorities of now."""
    with closing(tls_channel(cluster.port, cluster.people)) as channel, suppress(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(1)
        return True
    return False


def authority_of(listed: pb.ListCertificatesResponse, node_id: str) -> str:
    return [each.authority_id for each in listed.certificates if each.node_id == node_id][-1]


# The command


def test_an_operator_does_all_of_it_by_the_command(cluster: TlsCluster, machine: Machine) -> None:
    code, words = certs(*at(cluster), "invite", "node7", "--address", f"localhost:{cluster.port}")
    assert decoded(code).host == "localhost"
    assert "cloudgrpc node node7 PORT CAPACITY_GB" in words
    assert "node7 until" in certs(*at(cluster), "list")[0]
    assert machine.join(changed(code.strip(), host=HOST), "node7")
    listed = json.loads(certs(*at(cluster), "list", "--json")[0])
    (mine,) = [each for each in listed["certificates"] if each["node_id"] == "node7"]
    assert mine["serial"] == machine.papers("node7").serial
    assert mine["is_good"]
    assert [each["signs"] for each in listed["authorities"]] == [True]
    assert "ask" in certs(*at(cluster), "revoke", "node7", exit_code=2)[1]
    assert "node7 is refused" in certs(*at(cluster), "revoke", "node7", "--yes")[0]
    assert "revoked" in certs(*at(cluster), "list")[0]
    assert "no certificate that is good" in certs(*at(cluster), "revoke", "node7", "--yes", exit_code=12)[1]
    assert certs(*at(cluster), "ca", "show")[0].encode() == cluster.authority.bundle


def test_a_code_goes_into_a_file_that_nobody_else_can_read(cluster: TlsCluster, tmp_path: Path) -> None:
    file = tmp_path / "code"
    out, err = certs(*at(cluster), "invite", "node7", "--to", file)
    assert out == ""
    assert f"The code is in {file}" in err
    assert file.stat().st_mode & 0o777 == 0o600
    assert decoded(file.read_text()).node_id == "node7"
    before = file.read_bytes()
    assert "exists already" in certs(*at(cluster), "invite", "node7", "--to", file, exit_code=13)[1]
    assert file.read_bytes() == before
    assert len(cluster.rows("SELECT 1 FROM invite WHERE node_id = 'node7' AND used_by = ''")) == 1


def test_init_makes_what_is_missing_once_and_saves_the_secrets(tmp_path: Path) -> None:
    def init(*words: object, exit_code: int = 0) -> str:
        return "".join(certs("--data-dir", tmp_path / "fresh", "init", *words, exit_code=exit_code))

    assert "--backup" in init(exit_code=2)
    assert not (tmp_path / "fresh").exists()
    assert "no host name" in init("--yes", "--name", "a b", exit_code=14)
    assert not (tmp_path / "fresh").exists()
    told = init("--backup", tmp_path / "saved.tar", "--name", "Drive.example.org")
    assert "Whoever loses it loses every file" in told
    assert "drive.example.org" in told
    assert (tmp_path / "saved.tar").stat().st_mode & 0o077 == 0
    made = (tmp_path / "fresh" / FOLDER / "ca.crt").read_bytes()
    papers = Papers(tmp_path / "fresh" / FOLDER, THE_GATEWAY)
    serial = papers.serial
    assert "was here already" in init("--yes")
    assert papers.serial == serial
    init("--yes", "--name", "192.0.2.5")
    assert papers.serial != serial
    assert {"drive.example.org", "192.0.2.5", "localhost"} <= set(papers.names)
    assert (tmp_path / "fresh" / FOLDER / "ca.crt").read_bytes() == made


@pytest.mark.parametrize("node_id", ["ca", "gateway"])
def test_a_node_that_is_called_as_the_clusters_own_files_leaves_them_alone(tmp_path: Path, node_id: str) -> None:
    config, folder = Config(data=Data(folder=str(tmp_path))), tmp_path / FOLDER
    authority = Authority.create(folder)
    certify(authority, Papers(folder, THE_GATEWAY), [])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = encoded(JoinCode(node_id, "a cluster", HOST, 1, "", b"", "a secret"))
    with pytest.raises(UsageWrong, match="no node can join as"):
        asyncio.run(joining.join(config, node_id, code))
    assert joining.papers_of(config, node_id) is None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
