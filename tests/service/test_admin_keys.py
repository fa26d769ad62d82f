"""Admin keys at a real gateway: who has which may do what, and what is refused is in the record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import PATIENT, Cluster
from every_rpc import METHODS, RPCS, Needs, Person, admin_key, call, names, settle, with_fields
from user import CALL_S
from watching import check_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a key with the role view may call; everything else that operators call takes more.
LOOKING = {
    "ListMasterKeys",
    "GetSystemStatus",
    "StreamSystemEvents",
    "ListAllUsers",
    "ListAllNodes",
    "GetUserDetails",
    "ListPayments",
    "GetPaymentTotals",
    "ListAdminKeys",
    "ListCertificates",
    "CheckCluster",
    "ReconcileCluster",  # how far it is; to open the gateway takes more
}
OWN_ALONE = {"AddAdminKey", "RevokeAdminKey"}
FOR_OPERATORS = names(Needs.ADMIN_KEY)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("keys"), nodes=1, capacity_gb=100, **PATIENT)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def alice(gateway: Cluster) -> Person:
    return settle(gateway, "alice", gateway.enroll("giver@example.org"))


def add(gateway: Cluster, name: str, role: str) -> str:
    request = pb.AddAdminKeyRequest(admin_key=admin_key(gateway), name=name, role=role)
    return gateway.admin.AddAdminKey(request, timeout=CALL_S).key


def listed(gateway: Cluster) -> dict[str, pb.AdminKeyInfo]:
    request = pb.ListAdminKeysRequest(admin_key=admin_key(gateway))
    return {key.name: key for key in gateway.admin.ListAdminKeys(request, timeout=CALL_S).keys}


def recorded(gateway: Cluster, kind: str) -> list[dict[str, Any]]:
    rows = gateway.rows(f"SELECT details FROM event WHERE kind = '{kind}' ORDER BY event_id")
    return [json.loads(details) for (details,) in rows]


@pytest.mark.parametrize("name", FOR_OPERATORS)
def test_a_key_to_look_opens_the_views_alone(gateway: Cluster, alice: Person, view: str, name: str) -> None:
    outcome = call(gateway.channel, name, with_fields(RPCS[name].ask(alice), admin_key=view))
    if name.partition("/")[2] in LOOKING:
        assert outcome.status == "OK" or outcome.code == "not_restored", outcome
    else:
        check_refused(outcome, "PERMISSION_DENIED", "admin_role_too_low", name)


@pytest.fixture(scope="module")
def view(gateway: Cluster) -> str:
    return add(gateway, "looker", "view")


def test_to_open_a_restored_gateway_is_an_act(gateway: Cluster, view: str) -> None:
    outcome = call(
        gateway.channel, "AdminService/ReconcileCluster", [pb.ReconcileClusterRequest(admin_key=view, open=True)]
    )
    check_refused(outcome, "PERMISSION_DENIED", "admin_role_too_low", "open")


def test_a_key_to_operate_gives_no_keys(gateway: Cluster, alice: Person) -> None:
    key = add(gateway, "night-shift", "operate")
    for method in OWN_ALONE:
        name = f"AdminService/{method}"
        outcome = call(gateway.channel, name, with_fields(RPCS[name].ask(alice), admin_key=key))
        check_refused(outcome, "PERMISSION_DENIED", "admin_role_too_low", name)
        assert "the gateway's own key" in outcome.words


def test_an_act_names_the_key_it_was_done_with(gateway: Cluster, alice: Person) -> None:
    key = add(gateway, "cashier", "operate")
    request = pb.ClosePaymentRequest(admin_key=key, payment_id=alice.payment_id, reason="nothing came")
    gateway.admin.ClosePayment(request, timeout=CALL_S)
    (details,) = recorded(gateway, "payment.closed")
    assert (details["by"], details["operator"]) == ("operator", "cashier")
    history = gateway.history.ListHistory(pb.ListHistoryRequest(session_token=alice.token), timeout=CALL_S)
    assert "was ended: nothing came" in str(history)
    assert "cashier" not in str(history)


def test_a_key_is_told_once_and_listed_with_all_that_is_known_of_it(gateway: Cluster) -> None:
    key = add(gateway, "visitor", "view")
    known = listed(gateway)["visitor"]
    assert (known.role, known.created_by, known.last_used_at) == ("view", "the gateway's own key", "")
    gateway.admin.ListAdminKeys(pb.ListAdminKeysRequest(admin_key=key), timeout=CALL_S)
    revoke = pb.RevokeAdminKeyRequest(admin_key=admin_key(gateway), name="visitor")
    for _ in range(2):
        assert "visitor" in gateway.admin.RevokeAdminKey(revoke, timeout=CALL_S).message
    known = listed(gateway)["visitor"]
    assert known.last_used_at.endswith(":00.000Z")
    assert known.revoked_at >= known.created_at
    assert key not in str(listed(gateway))
    with pytest.raises(grpc.RpcError, match="There is, or was, an admin key named visitor"):
        add(gateway, "visitor", "view")
    assert len(recorded(gateway, "admin_key.revoked")) == 1


def test_wrong_keys_and_roles_too_low_are_in_the_record(gateway: Cluster, view: str) -> None:
    for key in ("a wrong key", view):
        with pytest.raises(grpc.RpcError):
            gateway.admin.StartRepair(pb.StartRepairRequest(admin_key=key), timeout=CALL_S)
    for kind in ("refused.admin_key_wrong", "refused.admin_role_too_low"):
        gateway.wait(lambda kind=kind: recorded(gateway, kind), what=kind)  # type: ignore[misc]
        assert recorded(gateway, kind)[0]["from"] == "127.0.0.1"


def test_the_table_above_is_about_rpcs_there_are() -> None:
    assert {f"AdminService/{name}" for name in LOOKING | OWN_ALONE} <= METHODS.keys()
