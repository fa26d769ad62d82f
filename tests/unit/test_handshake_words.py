"""What gRPC says of handshakes that fail, in words."""

from __future__ import annotations

import os
import sys

import pytest

from cloudgrpc.servers.handshake_words import TRACE, heard, words_of


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER: …", "it spoke plaintext"),
        (":OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired", "its certificate has expired"),
        (":OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: self-signed certificate", "by no authority of this cluster"),
        (":OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA: …", "it does not accept our certificate"),
        (":OPENSSL_internal:NO_SHARED_CIPHER: …", "no shared cipher"),
    ],
)
def test_why_a_handshake_failed_is_told_in_words(told: str, words: str) -> None:
    assert words in words_of(told)


def test_without_standard_error_its_number_is_left_to_whoever_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_TRACE", TRACE)
    monkeypatch.setattr(sys, "stderr", None)
    before = os.fstat(2)
    with heard(lambda _: None):
        assert os.path.samestat(os.fstat(2), before)
