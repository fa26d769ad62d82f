"""Transfers that broke off go on where they were: only what is missing travels, and the whole is what it should be."""

from __future__ import annotations

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.clients import calls
from cloudgrpc.clients.parts import is_part
from cloudgrpc.clients.receiving import Extent
from cloudgrpc.clients.transfer import Transfers
from cloudgrpc.core.chunking import CHUNK_BYTES
from cloudgrpc.errors import ContentDiffers, FileChanged, GatewayUnreachable, UploadDiffers, UploadEnded
from fake_gateway import DATA, FILE_ID, FakeGateway, FakeUploads, Progress, checksum_of, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloudgrpc.clients.session import Session

FILM = os.urandom(5 * CHUNK_BYTES + 5)
LAST = 5  # its chunks are numbered from 0
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
def fake() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def uploads() -> FakeUploads:
    return FakeUploads()


@pytest.fixture
def session(fake: FakeGateway, uploads: FakeUploads) -> Iterator[Session]:
    with serving(fake, uploads) as opened:
        yield opened


@pytest.fixture
def transfers(session: Session) -> Transfers:
    return Transfers(session)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.bin"
    path.write_bytes(FILM)
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


# Uploads


def test_a_large_upload_survives_more_lost_connections_than_its_patience_has_tries_while_it_gets_on(
    uploads: FakeUploads, transfers: Transfers, film: Path
) -> None:
    uploads.lost_connections = 5
    progress = Progress()
    uploaded = transfers.upload_file(film, meter=progress)
    assert uploads.puts == [(first, 6 - first) for first in range(6)], "each goes on where the one before broke off"
    assert uploads.content("0" * 32) == FILM
    assert (uploaded.size, progress.total, progress.kept_bytes) == (len(FILM), len(FILM), 0)
    assert transfers.kept_uploads() == []


def test_a_gateway_that_stays_away_is_told_in_the_end_and_what_arrived_goes_on_later(
    uploads: FakeUploads, session: Session, film: Path
) -> None:
    broken = Transfers(session)
    uploads.while_receiving = lambda: setattr(uploads, "is_away", len(uploads.chunks["0" * 32]) == 2)
    with pytest.raises(GatewayUnreachable):
        broken.upload_file(film)
    uploads.while_receiving = lambda: None
    uploads.is_away = False
    (kept,) = broken.kept_uploads()
    assert (kept.path, kept.stored_bytes, kept.size) == (film, 2 * CHUNK_BYTES, len(FILM))

    again, progress = Transfers(session), Progress()
    uploaded = again.upload_file(film, meter=progress, unfinished=again.unfinished())
    assert uploads.puts[-1] == (2, 4)
    assert uploads.content("0" * 32) == FILM
    assert len(uploads.wishes) == 1
    assert (uploaded.kept_bytes, progress.kept_bytes, progress.total) == (8 * MIB, 8 * MIB, len(FILM) - 8 * MIB)


def test_only_the_gaps_are_sent_and_all_of_the_file_is_hashed(
    uploads: FakeUploads, transfers: Transfers, film: Path
) -> None:
    uploads.is_away = True
    with pytest.raises(GatewayUnreachable):
        transfers.upload_file(film)
    uploads.is_away = False
    for position in (0, 2, 3, LAST):
        uploads.chunks["0" * 32][position] = FILM[position * CHUNK_BYTES : (position + 1) * CHUNK_BYTES]
    transfers.upload_file(film, unfinished=transfers.unfinished())
    assert uploads.puts == [(1, 1), (4, 1)]
    assert uploads.answers["0" * 32].checksum == checksum_of(FILM)


def test_without_being_told_to_go_on_a_fresh_upload_begins(
    uploads: FakeUploads, transfers: Transfers, film: Path
) -> None:
    transfers.upload_file(film)
    transfers.upload_file(film)
    assert len(uploads.answers) == 2


def test_of_another_file_nothing_is_gone_on_with(uploads: FakeUploads, transfers: Transfers, film: Path) -> None:
    uploads.is_away = True
    with pytest.raises(GatewayUnreachable):
        transfers.upload_file(film)
    uploads.is_away = False
    film.write_bytes(FILM)  # the same bytes, but who could know
    transfers.upload_file(film, unfinished=transfers.unfinished())
    transfers.upload_file(film, "f" * 32, unfinished=transfers.unfinished())
    other = film.with_name("other.bin")
    film.rename(other)
    transfers.upload_file(other, unfinished=transfers.unfinished())
    assert sorted(uploads.answers) == [f"{number:032x}" for number in (1, 2, 3)]


def test_a_lost_answer_makes_no_second_version(uploads: FakeUploads, transfers: Transfers, film: Path) -> None:
    uploads.lost_answers = 2
    assert transfers.upload_file(film).file_id == FILE_ID
    assert len(uploads.wishes) == len(uploads.puts) == 1


def _grow(film: Path) -> None:
    with film.open("ab") as file:
        file.write(b"x")


def _touch(film: Path) -> None:
    os.utime(film, (1, 1))


@pytest.mark.parametrize("change", [_grow, _touch])
def test_a_file_that_changes_meanwhile_is_dropped(
    uploads: FakeUploads, transfers: Transfers, film: Path, change: Callable[[Path], None]
) -> None:
    uploads.while_receiving = lambda: change(film)
    with pytest.raises(FileChanged):
        transfers.upload_file(film)
    assert uploads.dropped == ["0" * 32]
    assert not uploads.answers
    assert transfers.kept_uploads() == []


def test_other_bytes_under_an_old_date_are_noticed(uploads: FakeUploads, transfers: Transfers, film: Path) -> None:
    """What is stored is what the file was; what is sent is what it is now."""
    uploads.while_receiving = lambda: setattr(uploads, "is_away", True)
    with pytest.raises(GatewayUnreachable):
        transfers.upload_file(film)
    uploads.while_receiving, uploads.is_away = lambda: None, False
    state = film.stat()
    with film.open("r+b") as file:
        file.write(b"other")
    os.utime(film, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(UploadDiffers):
        transfers.upload_file(film, unfinished=transfers.unfinished())
    assert not uploads.answers


def test_an_upload_that_somebody_dropped_is_not_begun_again_by_itself(
    uploads: FakeUploads, transfers: Transfers, film: Path
) -> None:
    uploads.while_receiving = lambda: uploads.dropped.append("0" * 32)
    uploads.lost_connections = 1
    with pytest.raises(UploadEnded):
        transfers.upload_file(film)
    assert len(uploads.wishes) == 1


def test_an_upload_that_another_process_took_over_is_left_to_it(
    uploads: FakeUploads, transfers: Transfers, film: Path
) -> None:
    uploads.refusal = UploadEnded()
    with pytest.raises(UploadEnded):
        transfers.upload_file(film)
    assert uploads.dropped == []


def test_an_upload_of_which_nothing_arrived_is_dropped_when_it_is_interrupted(
    uploads: FakeUploads, transfers: Transfers, film: Path
) -> None:
    """Or the room that it reserves would be missing for days."""
    uploads.is_away = True
    with pytest.raises(GatewayUnreachable):
        transfers.upload_file(film)
    uploads.is_away = False
    assert transfers.kept_uploads() == []
    assert uploads.dropped == ["0" * 32]


def test_an_upload_whose_beginning_was_never_answered_is_dropped_when_it_is_interrupted(
    uploads: FakeUploads, transfers: Transfers, film: Path
) -> None:
    uploads.lost_begins = 4
    with pytest.raises(GatewayUnreachable):
        transfers.upload_file(film)
    assert len(uploads.wishes) == 1, "all tries are one upload"
    assert transfers.kept_uploads() == []
    assert uploads.dropped == ["0" * 32]


# Downloads


def part_of(output: Path, data: bytes, version: int = 3) -> Path:
    """What an earlier download left."""
    part = output / f".movie.bin.{FILE_ID[:8]}v{version}.part"
    part.write_bytes(data)
    return part


@pytest.mark.parametrize("size", [1, MIB, 2 * MIB + 7, len(DATA)])
def test_a_download_goes_on_from_what_an_earlier_process_left(
    fake: FakeGateway, transfers: Transfers, output: Path, size: int
) -> None:
    part_of(output, DATA[:size])
    progress = Progress()
    downloaded = transfers.download_file(FILE_ID, output, progress)
    assert downloaded.path.read_bytes() == DATA
    assert fake.asked == [(0, 0), (size, 3)]
    assert (downloaded.kept_bytes, progress.kept_bytes, progress.total) == (size, size, len(DATA) - size)
    assert [path.name for path in output.iterdir()] == ["movie.bin"]


@pytest.mark.parametrize("left", [b"other", DATA + b"x", b"\0" * len(DATA)])
def test_what_was_left_and_is_not_the_file_is_thrown_away_and_fetched_once_more(
    fake: FakeGateway, transfers: Transfers, output: Path, left: bytes
) -> None:
    part_of(output, left)
    progress = Progress()
    assert transfers.download_file(FILE_ID, output, progress).path.read_bytes() == DATA
    assert [path.name for path in output.iterdir()] == ["movie.bin"]
    assert fake.asked[-1] == (0, 3 if len(fake.asked) > 1 else 0)
    assert progress.total + progress.kept_bytes == len(DATA)


def test_content_that_is_wrong_once_more_is_told(fake: FakeGateway, transfers: Transfers, output: Path) -> None:
    part_of(output, DATA[:5])
    fake.checksum = checksum_of(b"something else")
    with pytest.raises(ContentDiffers):
        transfers.download_file(FILE_ID, output)
    assert len(fake.asked) == 3
    assert list(output.iterdir()) == []


def test_another_version_does_not_go_on_from_it_and_clears_it_away_when_that_is_worth_it(
    fake: FakeGateway, transfers: Transfers, output: Path
) -> None:
    fake.sent, fake.sent_size = FILM, len(FILM)
    part_of(output, b"older", version=2)
    part_of(output, b"newer", version=4)
    transfers.download_file(FILE_ID, output)
    assert [path.name for path in output.iterdir()] == ["movie.bin"]


def test_two_that_download_the_same_do_not_get_in_each_others_way(
    fake: FakeGateway, transfers: Transfers, output: Path
) -> None:
    part = part_of(output, DATA[:100])
    with part.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert transfers.download_file(FILE_ID, output).path.read_bytes() == DATA
        assert fake.asked == [(0, 0)]
        assert part.read_bytes() == DATA[:100]
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(transfers.download_file, FILE_ID, output) for _ in range(16)]:
            done.result()
    assert (output / "movie.bin").read_bytes() == DATA
    assert [path.name for path in output.iterdir()] == ["movie.bin"]


def test_a_part_that_becomes_the_file_while_it_is_being_locked_is_not_written_to(
    fake: FakeGateway, transfers: Transfers, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process ends its download in that moment."""
    part = part_of(output, DATA)
    lock = fcntl.flock

    def become_first(handle: int, operation: int) -> None:
        if part.exists() and not (output / "movie.bin").exists():
            part.rename(output / "movie.bin")
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", become_first)
    transfers.download_file(FILE_ID, output)
    assert fake.asked == [(0, 0)], "nothing of it was taken for the beginning of a download"
    assert (output / "movie.bin").read_bytes() == DATA
    assert [path.name for path in output.iterdir()] == ["movie.bin"]


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_what_stands_in_the_place_of_the_part_is_left_alone(
    transfers: Transfers, output: Path, tmp_path: Path, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    part = output / f".movie.bin.{FILE_ID[:8]}v3.part"
    if kind == "link":
        part.symlink_to(elsewhere)
    elif kind == "folder":
        part.mkdir()
    else:
        os.mkfifo(part)
    assert transfers.download_file(FILE_ID, output).path.read_bytes() == DATA
    assert elsewhere.read_bytes() == b"precious"
    assert {path.name for path in output.iterdir()} == {"movie.bin", part.name}


def test_of_a_download_beside_another_of_the_same_nothing_is_left_when_it_breaks_off(
    fake: FakeGateway, transfers: Transfers, output: Path
) -> None:
    """Nobody would find it again under its own name."""
    fake.lost_connections = 100
    part = part_of(output, DATA[:100])
    with part.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(GatewayUnreachable):
            transfers.download_file(FILE_ID, output)
    assert list(output.iterdir()) == [part]
    assert transfers.kept_parts() == 0


def test_ctrl_c_keeps_what_came(fake: FakeGateway, transfers: Transfers, output: Path) -> None:
    class Interrupting(Progress):
        def moved(self, count: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfers.download_file(FILE_ID, output, Interrupting())
    assert [is_part(path.name) for path in output.iterdir()] == [True]
    transfers.download_file(FILE_ID, output)
    assert fake.asked[-1] == (MIB, 3)


def test_a_piece_of_a_file_goes_on_after_a_lost_connection(fake: FakeGateway, transfers: Transfers) -> None:
    fake.lost_connections = 2
    out = BytesIO()
    transfers.copy_out(transfers.reader(FILE_ID), out, Extent(10))
    assert out.getvalue() == DATA[10:]
    assert [offset for offset, _ in fake.asked] == [10, 10 + MIB, 10 + 2 * MIB]


def test_a_whole_file_that_is_written_out_is_verified(fake: FakeGateway, transfers: Transfers) -> None:
    fake.checksum = checksum_of(b"something else")
    with pytest.raises(ContentDiffers):
        transfers.copy_out(transfers.reader(FILE_ID), BytesIO(), Extent())


def test_ended_transfers_end_in_every_thread(
    fake: FakeGateway, uploads: FakeUploads, transfers: Transfers, film: Path, output: Path
) -> None:
    """So that Ctrl-C in the middle of many files does not wait for them."""
    is_there, goes_on = threading.Event(), threading.Event()

    def wait() -> None:
        is_there.set()
        goes_on.wait(20)

    uploads.while_receiving = wait
    with ThreadPoolExecutor(1) as threads:
        upload = threads.submit(transfers.upload_file, film)
        is_there.wait(20)
        transfers.cancel()
        assert upload.exception(10) is not None
        goes_on.set()
    with pytest.raises(calls.Stopped):
        transfers.download_file(FILE_ID, output)
