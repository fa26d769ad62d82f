"""How much a gateway may send a client before it is asked for: what a download over a long line hangs on."""

from __future__ import annotations

import socket

from cloudgrpc.clients.session import Gateway
from cloudgrpc.pb import cloud_storage_pb2 as pb

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, INITIAL_WINDOW_SIZE = 4, 4  # RFC 9113, 6.5


def test_four_mib_of_a_download_may_be_on_their_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        with Gateway(f"127.0.0.1:{server.getsockname()[1]}") as gateway:
            asked = gateway.files.ListFiles.future(pb.ListFilesRequest())
            accepted, _ = server.accept()
            with accepted, accepted.makefile("rb") as stream:
                assert stream.read(len(PREFACE)) == PREFACE
                head = stream.read(9)
                settings = stream.read(int.from_bytes(head[:3], "big"))
            asked.cancel()
    assert head[3] == SETTINGS
    told = {
        int.from_bytes(settings[at : at + 2], "big"): int.from_bytes(settings[at + 2 : at + 6], "big")
        for at in range(0, len(settings), 6)
    }
    assert told[INITIAL_WINDOW_SIZE] == 4 << 20
