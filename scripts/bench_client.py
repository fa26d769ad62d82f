"""One client of the bench: a process that moves files with the product's own client library.

    bench_client.py upload ADDRESS TOKEN PATH
    bench_client.py download ADDRESS TOKEN FILE_ID          verified, and written to /dev/null
    bench_client.py stall ADDRESS TOKEN FILE_ID READERS     opens that many downloads and stops reading them

It says "ready" when everything is imported, starts at the first line on stdin, and answers with one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients.receiving import Extent
from cloudgrpc.clients.session import Gateway, Session
from cloudgrpc.clients.transfer import Transfers
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable


def upload(session: Session, path: str) -> dict[str, object]:
    return {"file_id": Transfers(session).upload_file(Path(path)).file_id}


def download(session: Session, file_id: str) -> dict[str, object]:
    """The client's own disk is left out, as it is in the roofline."""
    transfers = Transfers(session)
    with Path("/dev/null").open("wb") as sink:
        info = transfers.copy_out(transfers.reader(file_id), sink, Extent())
    return {"size": info.file_size}


def stall(session: Session, file_id: str, readers: str) -> dict[str, object]:
    """Keep the downloads open until stdin ends."""
    request = pb.DownloadFileRequest(session_token=session.token, file_id=file_id)
    calls = [session.gateway.files.DownloadFile(request) for _ in range(int(readers))]
    got = sum(len(next(call).chunk_data) for call in calls for _ in range(2))
    print("stalled", flush=True)
    sys.stdin.read()
    for call in calls:
        call.cancel()
    return {"size": got}


def main(words: list[str]) -> None:
    role, address, token, *rest = words
    roles: dict[str, Callable[..., dict[str, object]]] = {"upload": upload, "download": download, "stall": stall}
    work = roles[role]
    with Gateway(address) as gateway:
        print("ready", flush=True)
        sys.stdin.readline()
        started, cpu_s = time.perf_counter(), time.process_time()
        answer = work(Session(gateway, token), *rest)
        spent = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_s}
    print(json.dumps({**answer, **spent}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
