"""Invites and certificates: a code is one key's for good, and what was revoked stays out, whoever comes at once."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.actions.endings import Endings
from cloudgrpc.actions.joining import CERTIFICATES_AT_ONCE, CODE_S, Entrance, Joining
from cloudgrpc.core.endings import Whose
from cloudgrpc.core.join_code import JoinCode, decoded
from cloudgrpc.core.peers import VISITOR, Visitor
from cloudgrpc.errors import (
    AuthorityMissing,
    CertificateRevoked,
    CertificateUnknown,
    InvalidField,
    JoinCodeExpired,
    JoinCodeForOther,
    JoinCodeUnknown,
    JoinCodeUsed,
    TooManyCertificates,
    TooManyTries,
)
from cloudgrpc.meta import certificates, node_acts, schema
from cloudgrpc.meta.certificates import NewCertificate
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Certificate, Invite
from cloudgrpc.trust.authority import Authority
from cloudgrpc.trust.bundle import bundle_digest
from cloudgrpc.trust.identity import Shown, identity_of_pem, node_identity, serial_of_pem
from cloudgrpc.trust.papers import Papers
from cloudgrpc.trust.secrets import Secret
from contract.meta_fixture import HOUR, NOT_IDS

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from contract.meta_fixture import Meta

DAY = 24 * HOUR
CODE, KEY, OTHER_KEY = "the digest of a code", "the digest of a key", "the digest of another key"
TRIES = 4


def new(meta: Meta, serial: str, node_id: str = "node4", life_us: int = 90 * DAY) -> NewCertificate:
    moment = meta.run(now)
    return NewCertificate(serial, node_id, "0a1b2c3d", moment, moment + life_us)


def invite(meta: Meta, digest: str = CODE, node_id: str = "node4") -> int:
    return meta.run(certificates.invite, digest, node_id, HOUR, "bob")


def join(meta: Meta, serial: str, node_id: str = "node4", digest: str = CODE, key: str = KEY) -> None:
    meta.run(certificates.record_joined, digest, key, new(meta, serial, node_id))


def details(meta: Meta, kind: str) -> list[dict[str, Any]]:
    return [json.loads(told) for (told,) in meta.rows(f"SELECT details FROM event WHERE kind = '{kind}'")]


# Codes


def test_a_code_is_one_keys_who_may_ask_again(database: Meta) -> None:
    invite(database)
    for _ in range(3):
        database.run(certificates.use, CODE, "node4", KEY)
    with pytest.raises(JoinCodeUsed):
        database.run(certificates.use, CODE, "node4", OTHER_KEY)
    database.run(certificates.use, CODE, "node4", KEY)


def test_of_many_keys_at_once_one_gets_the_code(database: Meta) -> None:
    invite(database)
    tried = database.race([partial(certificates.use, CODE, "node4", f"key {number}") for number in range(8)])
    assert [type(each) for each in tried].count(type(None)) == 1
    assert [type(each) for each in tried].count(JoinCodeUsed) == 7


def test_a_code_that_does_not_fit_says_why(database: Meta) -> None:
    invite(database)
    with pytest.raises(JoinCodeUnknown):
        database.run(certificates.use, "another code", "node4", KEY)
    with pytest.raises(JoinCodeForOther, match="node5"):
        database.run(certificates.use, CODE, "node5", KEY)
    database.age("invite", "expires_at", HOUR + 1)
    with pytest.raises(JoinCodeExpired, match="has expired"):
        database.run(certificates.use, CODE, "node4", KEY)
    assert database.rows("SELECT used_by FROM invite") == [("",)]


def test_a_used_code_does_not_outlive_its_time(database: Meta) -> None:
    invite(database)
    database.run(certificates.use, CODE, "node4", KEY)
    database.age("invite", "expires_at", HOUR + 1)
    with pytest.raises(JoinCodeExpired):
        database.run(certificates.use, CODE, "node4", KEY)


def test_a_code_is_told_with_who_made_it_until_it_is_used(database: Meta) -> None:
    until = invite(database)
    (waiting,) = database.run(certificates.look).invites
    assert (waiting.node_id, waiting.created_by, waiting.expires_at) == ("node4", "bob", until)
    assert details(database, "node.invited") == [{"by": "operator", "operator": "bob"}]
    database.run(certificates.use, CODE, "node4", KEY)
    assert database.run(certificates.look).invites == []


# Certificates


def test_what_was_signed_is_listed_and_an_event(database: Meta) -> None:
    invite(database)
    join(database, "a1")
    database.run(certificates.record_renewed, "a1", new(database, "b2"))
    found = database.run(certificates.look)
    assert [(each.serial, each.node_id, found.is_good(each)) for each in found.certificates] == [
        ("a1", "node4", True),
        ("b2", "node4", True),
    ]
    assert [told["serial"] for told in details(database, "certificate.issued")] == ["a1", "b2"]
    database.age("certificate", "expires_at", 91 * DAY)
    found = database.run(certificates.look)
    assert not any(found.is_good(each) for each in found.certificates)


def test_what_is_revoked_is_not_renewed_and_cannot_join_by_an_old_code(database: Meta) -> None:
    invite(database)
    join(database, "a1")
    invite(database, "unused", "node4")
    invite(database, "of another", "node5")
    join(database, "c3", "node5", "of another")
    assert database.run(certificates.revoke, "node4", "bob") == (["a1"], 1)
    assert database.run(certificates.revoked_serials) == ["a1"]
    with pytest.raises(CertificateRevoked):
        database.run(certificates.record_renewed, "a1", new(database, "b2"))
    for code in (CODE, "unused"):
        with pytest.raises(JoinCodeUnknown):
            join(database, "d4", digest=code)
    database.run(certificates.record_renewed, "c3", new(database, "e5", "node5"))
    (told,) = details(database, "certificate.revoked")
    assert told == {"by": "operator", "operator": "bob", "serials": ["a1"]}
    with pytest.raises(CertificateUnknown):
        database.run(certificates.revoke, "node4", "bob")
    assert database.events("certificate.revoked") == 1


def test_who_is_revoked_gets_no_more_chunks_at_once(database: Meta) -> None:
    for node_id in ("node4", "node5"):
        database.add_node(node_id)
    invite(database, "a code alone", "node5")
    database.run(certificates.revoke, "node5", "bob")
    invite(database)
    join(database, "a1")
    database.run(certificates.revoke, "node4", "bob")
    told = database.rows(
        "SELECT node_id, is_online, offline_since_at IS NULL FROM node WHERE substr(node_id, 1, 4) = 'node'"
    )
    assert sorted((node_id, bool(online), bool(null)) for node_id, online, null in told) == [
        ("node4", False, False),
        ("node5", True, True),
    ]
    assert database.events("node.offline") == 1


def test_who_is_removed_is_shut_out_in_the_same_transaction_and_is_told_so(database: Meta) -> None:
    database.add_node("node4")
    invite(database)
    join(database, "a1")
    invite(database, "unused", "node4")
    database.run(node_acts.remove, "node4", "bob", is_lost=False)
    assert database.run(certificates.revoked_serials) == ["a1"]
    assert database.run(certificates.is_removed, "a1")
    with pytest.raises(CertificateRevoked):
        database.run(certificates.record_renewed, "a1", new(database, "b2"))
    with pytest.raises(JoinCodeUnknown):
        join(database, "b2", digest="unused", key=OTHER_KEY)
    (told,) = details(database, "node.removed")
    assert told["serials"] == ["a1"]
    # The next of that name is another one, and only revoked.
    invite(database, "another code")
    join(database, "c3", digest="another code")
    database.run(certificates.revoke, "node4", "bob")
    assert not database.run(certificates.is_removed, "c3")


def test_what_is_revoked_stays_on_the_list_for_machines_whose_clocks_are_late(database: Meta) -> None:
    invite(database)
    join(database, "a1")
    database.run(certificates.revoke, "node4", "bob")
    database.age("certificate", "expires_at", 90 * DAY + HOUR)
    assert database.run(certificates.revoked_serials) == ["a1"]
    database.age("certificate", "expires_at", DAY)
    assert database.run(certificates.revoked_serials) == []


def test_who_was_revoked_can_be_invited_again(database: Meta) -> None:
    invite(database)
    join(database, "a1")
    database.run(certificates.revoke, "node4", "bob")
    invite(database, "another code")
    join(database, "b2", digest="another code")
    assert database.run(certificates.revoked_serials) == ["a1"]
    database.run(certificates.check, "b2", "node4")


def test_a_join_that_is_signed_while_its_code_is_taken_back_leads_nowhere(database: Meta) -> None:
    invite(database)
    database.run(certificates.use, CODE, "node4", KEY)
    assert database.run(certificates.revoke, "node4", "bob") == ([], 0)
    with pytest.raises(JoinCodeUnknown):
        join(database, "a1")
    assert database.run(Certificate.select().count) == 0


def test_of_a_revocation_and_a_renewal_at_once_nothing_good_is_left(database: Meta) -> None:
    invite(database)
    join(database, "a1")
    renewals = [partial(certificates.record_renewed, "a1", new(database, f"b{number}")) for number in range(6)]
    answers = database.race([*renewals[:3], partial(certificates.revoke, "node4", "bob"), *renewals[3:]])
    assert all(answer is None or isinstance(answer, (CertificateRevoked, tuple)) for answer in answers), answers
    found = database.run(certificates.look)
    assert found.certificates
    assert not any(found.is_good(each) for each in found.certificates)


def test_of_a_revocation_and_a_join_at_once_nothing_good_is_left(database: Meta) -> None:
    invite(database)
    database.run(certificates.use, CODE, "node4", KEY)
    joins = [partial(certificates.record_joined, CODE, KEY, new(database, f"a{number}")) for number in range(6)]
    answers = database.race([*joins[:3], partial(certificates.revoke, "node4", "bob"), *joins[3:]])
    assert all(answer is None or isinstance(answer, (JoinCodeUnknown, tuple)) for answer in answers), answers
    found = database.run(certificates.look)
    assert not any(found.is_good(each) for each in found.certificates)


@pytest.mark.parametrize("serial", ["unknown", "c3"])
def test_only_a_nodes_own_certificate_is_renewed(database: Meta, serial: str) -> None:
    invite(database)
    join(database, "a1")
    invite(database, "of another", "node5")
    join(database, "c3", "node5", "of another")
    with pytest.raises(CertificateUnknown):
        database.run(certificates.record_renewed, serial, new(database, "b2"))


def test_what_has_long_been_over_is_forgotten(database: Meta) -> None:
    invite(database)
    join(database, "a1")
    invite(database, "unused")
    database.run(certificates.revoke, "node4", "bob")
    invite(database, "unused")
    database.run(certificates.sweep)
    assert database.run(Certificate.select().count) == database.run(Invite.select().count) == 1
    database.age("certificate", "expires_at", 90 * DAY + certificates.KEPT_US)
    database.age("invite", "expires_at", HOUR + certificates.KEPT_US)
    database.run(certificates.sweep)
    assert database.run(Certificate.select().count) == database.run(Invite.select().count) == 0


# The gateway's part


class Office:
    """A gateway with an authority; `do` is a call from one host."""

    def __init__(self, meta: Meta, folder: Path, *, has_authority: bool = True) -> None:
        meta.run(schema.cluster_id)
        self.meta = meta
        self.folder = folder
        self.authority = Authority.create(folder / "authority") if has_authority else None
        self.joining = Joining(
            meta.database,
            self.authority,
            lambda: Entrance("192.0.2.1", 50051, "gateway.gateway.cloudgrpc", b"a root"),
            Secret.of("the secret of now", "the secret of before"),
            cluster_place=("", 50052),
            tries_per_hour=TRIES,
        )

    def do(self, doing: Coroutine[Any, Any, Any], host: str = "192.0.2.9") -> Any:
        async def call() -> Any:
            VISITOR.set(Visitor("", host, "a test"))
            return await doing

        return asyncio.run(call())

    def invite(self, node_id: str = "node4", address: str = "") -> JoinCode:
        return decoded(self.do(self.joining.invite("bob", node_id, address)).code)

    def papers(self, name: str = "node4") -> Papers:
        return Papers(self.folder / name, node_identity(name))

    def join(self, code: JoinCode, papers: Papers, host: str = "192.0.2.9", secret: str = "") -> Any:
        return self.do(self.joining.join(secret or code.secret, papers.identity.name, papers.request()), host)


@pytest.fixture
def office(database: Meta, tmp_path: Path) -> Office:
    return Office(database, tmp_path)


def test_who_holds_a_code_gets_the_papers_and_what_it_needs_besides(office: Office) -> None:
    code, papers = office.invite(), office.papers()
    assert (code.host, code.port, code.node_id, code.root) == ("192.0.2.1", 50051, "node4", b"a root")
    given, place, secrets = office.join(code, papers)
    assert place == ("", 50052)
    assert secrets == ["the secret of now", "the secret of before"]
    papers.accept(given.certificate, given.authorities)
    assert identity_of_pem(papers.tls.certificate) == node_identity("node4")
    office.meta.run(certificates.check, papers.serial, "node4")


def test_an_answer_that_was_lost_is_given_again_and_to_nobody_else(office: Office) -> None:
    code, papers = office.invite(), office.papers()
    first, second = office.join(code, papers)[0], office.join(code, papers)[0]
    thief = Papers(office.folder / "thief", node_identity("node4"))
    with pytest.raises(JoinCodeUsed):
        office.join(code, thief)
    papers.accept(second.certificate, second.authorities)
    assert serial_of_pem(first.certificate) != papers.serial
    assert office.meta.run(Certificate.select().count) == 2  # each can be revoked


def test_the_secret_is_nowhere_in_the_metadata(office: Office) -> None:
    code = office.invite()
    office.join(code, office.papers())
    assert code.secret not in str(office.meta.digest())


def test_a_code_leads_where_the_operator_says(office: Office) -> None:
    code = office.invite(address="drive.example.org:7000")
    assert (code.host, code.port) == ("drive.example.org", 7000)
    for address in ("x", "x:", ":7", "x:0", "x:65536", "a b:7", "x:7x", "\0:7", "x:" + "9" * 5000):
        with pytest.raises(InvalidField, match="address"):
            office.invite(address=address)


@pytest.mark.parametrize("node_id", [*NOT_IDS[2:], "", "-a", "Node4", "node4.node"])
def test_ids_that_are_none_are_refused(office: Office, node_id: str) -> None:
    for doing in (
        office.joining.invite("bob", node_id),
        office.joining.revoke("bob", node_id),
        office.joining.join("secret", node_id, office.papers().request()),
        office.joining.renew(node_id, "a1", office.papers().request()),
    ):
        with pytest.raises(InvalidField, match="node_id"):
            office.do(doing)


def test_wrong_codes_are_limited_by_who_tries(office: Office) -> None:
    code, papers = office.invite(), office.papers()
    for _ in range(TRIES):
        with pytest.raises(JoinCodeUnknown):
            office.join(code, papers, secret="a guess")
    with pytest.raises(TooManyTries):
        office.join(code, papers)
    assert office.join(code, papers, host="192.0.2.10")


def test_a_request_that_is_none_uses_up_no_code(office: Office) -> None:
    code = office.invite()
    for request in (b"", b"nonsense", b"x" * 100_000):
        with pytest.raises(InvalidField, match="csr"):
            office.do(office.joining.join(code.secret, "node4", request))
    assert office.join(code, office.papers())


def test_a_node_renews_with_a_fresh_key_until_it_is_revoked(office: Office) -> None:
    papers = office.papers()
    given, _, _ = office.join(office.invite(), papers)
    papers.accept(given.certificate, given.authorities)
    before = papers.tls
    renewed = office.do(office.joining.renew("node4", papers.serial, papers.request()))
    papers.accept(renewed.certificate, renewed.authorities)
    assert papers.tls.key != before.key
    assert len(office.do(office.joining.revoke("bob", "node4"))[0]) == 2
    assert set(office.do(office.joining.revoked())) == {papers.serial, serial_of_pem(before.certificate)}
    with pytest.raises(CertificateRevoked):
        office.do(office.joining.renew("node4", papers.serial, papers.request()))


def test_nodes_hear_whom_to_believe_and_who_did_not_is_known(office: Office) -> None:
    papers = office.papers()
    given, _, _ = office.join(office.invite(), papers)
    papers.accept(given.certificate, given.authorities)
    assert office.authority is not None
    assert office.joining.news("node4", bundle_digest(papers.bundle)) == b""
    assert office.do(office.joining.look()).behind == []
    office.authority.add_ca()
    assert office.do(office.joining.look()).behind == ["node4"]
    assert papers.learn(office.joining.news("node4", bundle_digest(papers.bundle)))
    assert office.do(office.joining.look()).behind == ["node4"]  # it has not said so yet
    assert office.joining.news("node4", bundle_digest(papers.bundle)) == b""
    assert office.do(office.joining.look()).behind == []
    assert office.joining.news("node9", "") == b""  # of a plaintext node


def test_without_an_authority_nobody_is_invited(database: Meta, tmp_path: Path) -> None:
    office = Office(database, tmp_path, has_authority=False)
    request = office.papers().request()
    for doing in (
        office.joining.invite("bob", "node4"),
        office.joining.join("secret", "node4", request),
        office.joining.renew("node4", "a1", request),
    ):
        with pytest.raises(AuthorityMissing, match="no authority"):
            office.do(doing)
    assert office.do(office.joining.look()).authorities == []
    assert office.joining.news("node4", "something") == b""


def test_a_code_is_good_for_a_quarter_of_an_hour(office: Office) -> None:
    code = office.invite()
    office.meta.age("invite", "expires_at", (CODE_S - 30) * 1_000_000)
    office.join(code, office.papers())
    office.meta.age("invite", "expires_at", 60 * 1_000_000)
    with pytest.raises(JoinCodeExpired, match="15 minutes"):
        office.join(code, office.papers())


@pytest.mark.parametrize("node_id", ["ca", "gateway"])
def test_nobody_is_invited_whose_papers_would_be_in_the_place_of_the_clusters(office: Office, node_id: str) -> None:
    with pytest.raises(InvalidField, match="own files"):
        office.invite(node_id)


def test_a_stolen_node_cannot_fill_the_list_of_certificates_and_keeps_no_other_from_its_own(office: Office) -> None:
    for node_id in ("node4", "node5"):
        papers = office.papers(node_id)
        given = office.join(office.invite(node_id), papers)[0]
        papers.accept(given.certificate, given.authorities)
        request = papers.request()
        for _ in range(CERTIFICATES_AT_ONCE - 1):
            office.do(office.joining.renew(node_id, papers.serial, request))
        with pytest.raises(TooManyCertificates, match=node_id):
            office.do(office.joining.renew(node_id, papers.serial, request))
    assert office.meta.run(Certificate.select().count) == 2 * CERTIFICATES_AT_ONCE
    # Nor does it keep the machine that takes its place from joining.
    office.do(office.joining.revoke("bob", "node4"))
    assert office.join(office.invite("node4"), office.papers("node4"))[0].certificate


def test_a_certificate_of_after_a_backup_is_listed_when_it_is_shown_and_can_be_revoked(office: Office) -> None:
    moment = office.meta.run(now) // 1_000_000
    shown = Shown(node_identity("node4"), "a1", "0a1b2c3d", moment, moment + 86400)
    for _ in range(2):
        assert office.do(office.joining.refusal(shown)) is None
    (listed,) = office.meta.run(certificates.look).certificates
    assert (listed.node_id, listed.serial, listed.authority) == ("node4", "a1", "0a1b2c3d")
    assert office.meta.events("certificate.found") == 1
    assert office.do(office.joining.revoke("bob", "node4")) == (["a1"], 0)
    assert isinstance(office.do(office.joining.refusal(shown)), CertificateRevoked)


def test_a_node_whose_certificate_is_not_renewed_is_told_of_once_for_each(database: Meta) -> None:
    for node_id in ("node4", "node5"):
        database.add_node(node_id)
        invite(database, f"code of {node_id}", node_id)
        join(database, f"a of {node_id}", node_id, f"code of {node_id}")
    endings = Endings(database.database, list)
    assert asyncio.run(endings.look()) == []
    database.age("certificate", "expires_at", 73 * DAY)
    database.age("certificate", "issued_at", 73 * DAY)
    database.run(certificates.record_renewed, "a of node5", new(database, "b", "node5"))
    for _ in range(2):
        (ending,) = asyncio.run(endings.look())
        assert (ending.whose, ending.name) == (Whose.NODE, "node4")
        asyncio.run(endings.tell())
    assert database.events("certificate.unrenewed") == 1
    assert asyncio.run(Endings(database.database, None).look()) == []  # they show none any more
    database.set_offline("node4")  # which is told already
    assert asyncio.run(endings.look()) == []
