"""Who a certificate is for is read from its own name alone, and never from two."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cloudgrpc.core.introductions import NODE_ID
from cloudgrpc.errors import InvalidField
from cloudgrpc.trust.authority import general_name
from cloudgrpc.trust.identity import (
    GATEWAY,
    NODE,
    THE_GATEWAY,
    Identity,
    identity_of_pem,
    node_identity,
    serial_of_pem,
)

KEY = ec.generate_private_key(ec.SECP256R1())
SERIAL = 0xABCDEF


def certificate(*names: str, subject: str = "", address: str = "") -> bytes:
    """One that says these names and no others; without any it has no such part."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    told: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
    if address:
        told.append(x509.IPAddress(ipaddress.ip_address(address)))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(SERIAL)
        .not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2027, 1, 1, tzinfo=dt.UTC))
    )
    if told:
        builder = builder.add_extension(x509.SubjectAlternativeName(told), critical=False)
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM)


def test_the_names_are_those_that_were_agreed() -> None:
    assert node_identity("node4").host == "node4.node.cloudgrpc"
    assert THE_GATEWAY.host == "gateway.gateway.cloudgrpc"


@pytest.mark.parametrize(
    "identity", [THE_GATEWAY, node_identity("node4"), node_identity("gateway"), Identity(NODE, "a-")]
)
def test_what_is_written_is_read_again(identity: Identity) -> None:
    assert identity_of_pem(certificate("drive.example.org", identity.host, address="192.0.2.5")) == identity


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["drive.example.org"],
        ["node4.node.cloudgrpc.example.org"],
        ["x.node4.node.cloudgrpc"],
        ["node4.nodes.cloudgrpc"],
        ["node4.gateway"],
        ["*.node.cloudgrpc"],
        ["-node4.node.cloudgrpc"],
        ["NODE4.node.cloudgrpc"],
        [".node.cloudgrpc"],
        ["node4.node.cloudgrpc."],
        ["node4.node.cloudgrpc", "node5.node.cloudgrpc"],
        ["node4.node.cloudgrpc", "gateway.gateway.cloudgrpc"],
        ["node4.node.cloudgrpc", "node4.node.cloudgrpc"],
    ],
)
def test_other_names_are_nobodys(names: list[str]) -> None:
    assert identity_of_pem(certificate(*names, subject="node4.node.cloudgrpc")) is None


@pytest.mark.parametrize("junk", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_nobodys(junk: bytes) -> None:
    assert identity_of_pem(junk) is None
    assert serial_of_pem(junk) == ""


def test_a_serial_is_told_as_in_the_list() -> None:
    assert serial_of_pem(certificate("a.node.cloudgrpc")) == "abcdef"


def test_every_node_id_can_stand_in_a_name() -> None:
    longest = "n" + "4" * 62
    assert NODE_ID.match(longest)
    assert identity_of_pem(certificate(node_identity(longest).host)) == Identity(NODE, longest)
    assert {GATEWAY, NODE} == {"gateway", "node"}


@pytest.mark.parametrize("told", [f"{'a' * 60}.example.org:50051", "a" * 64, f"{'a.' * 120}!", "-a.b", "a..b", "*"])
def test_what_is_no_host_name_is_told_at_once(told: str) -> None:
    with pytest.raises(InvalidField, match="no host name"):
        general_name(told)


@pytest.mark.parametrize(
    "told", ["drive", "drive.example.org", "Drive.Example.org.", "*.example.org", "a_b.c-d", "a" * 63]
)
def test_host_names_are_taken_in_small_letters(told: str) -> None:
    assert general_name(told) == x509.DNSName(told.lower().rstrip("."))
