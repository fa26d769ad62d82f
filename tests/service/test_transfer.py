"""Transfers against a gateway that misbehaves: nothing half-done stays, a lost connection is tried again."""

from __future__ import annotations

import itertools
import os
import threading
import time
from itertools import accumulate
from types import SimpleNamespace
from typing import TYPE_CHECKING

import grpc
import pytest

from cloudgrpc.actions.budget import CHUNKS_OF_ONE
from cloudgrpc.clients import calls
from cloudgrpc.clients import source as source_module
from cloudgrpc.clients.calls import Stopped
from cloudgrpc.clients.local_tree import LocalTree, plan
from cloudgrpc.clients.many import BATCHES
from cloudgrpc.clients.progress import Unwatched
from cloudgrpc.clients.source import SLOW_S, Pieces, source_of
from cloudgrpc.clients.transfer import Transfers
from cloudgrpc.clients.tree import TreeUpload
from cloudgrpc.errors import (
    CloudError,
    ContentDiffers,
    FileChanged,
    GatewayUnreachable,
    InvalidField,
    LocalFile,
    NodesTooFew,
    QuorumMissed,
    QuotaExceeded,
    SessionEnded,
    UploadDiffers,
)
from cloudgrpc.rpc import PIECE_BYTES, SMALL_FILE_BYTES
from cloudgrpc.wire import split_data
from fake_gateway import DATA, FILE_ID, FakeGateway, Progress, checksum_of, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cloudgrpc.clients.session import Session


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
def fake() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def session(fake: FakeGateway) -> Iterator[Session]:
    with serving(fake) as opened:
        yield opened


@pytest.fixture
def transfers(session: Session) -> Transfers:
    return Transfers(session)


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "movie.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 4 << 20, (4 << 20) + 1])
def test_a_file_of_any_size_arrives_whole(fake: FakeGateway, transfers: Transfers, tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(DATA[:size])
    progress = Progress()
    uploaded = transfers.upload_file(tmp_path / "a", meter=progress)
    assert fake.kept["a"] == DATA[:size]
    assert (uploaded.size, uploaded.checksum, progress.total) == (size, checksum_of(DATA[:size]), size)


@pytest.mark.parametrize("size", [100, len(DATA)])
def test_a_lost_connection_is_tried_again_under_the_same_request_id(
    fake: FakeGateway, transfers: Transfers, tmp_path: Path, size: int
) -> None:
    (tmp_path / "a").write_bytes(DATA[:size])
    fake.lost_connections = 2
    progress = Progress()
    transfers.upload_file(tmp_path / "a", meter=progress)
    assert fake.kept["a"] == DATA[:size]
    assert len(fake.request_ids) == 3
    assert len(set(fake.request_ids)) == 1
    assert progress.total == size
    transfers.upload_file(tmp_path / "a")
    assert len(set(fake.request_ids)) == 2


def test_a_gateway_that_stays_away_is_told_in_the_end(fake: FakeGateway, transfers: Transfers, movie: Path) -> None:
    fake.lost_connections = 100
    progress = Progress()
    with pytest.raises(GatewayUnreachable):
        transfers.upload_file(movie, meter=progress)
    assert len(fake.request_ids) == 4
    assert progress.total == 0


def test_what_the_gateway_refuses_is_not_asked_twice(fake: FakeGateway, transfers: Transfers, movie: Path) -> None:
    fake.refusal = QuotaExceeded(name="movie.bin", needed="3 MB", left="1 MB", quota="1 MB")
    with pytest.raises(QuotaExceeded, match="only 1 MB"):
        transfers.upload_file(movie)
    assert len(fake.request_ids) == 1


def test_nodes_that_come_back_are_waited_for(fake: FakeGateway, transfers: Transfers, movie: Path) -> None:
    fake.refusal, fake.refusals = NodesTooFew(online=1, quorum=2), 2
    transfers.upload_file(movie)
    assert fake.kept["movie.bin"] == DATA
    assert len(set(fake.request_ids)) == 1


@pytest.mark.parametrize("change", [1, -1, -len(DATA)])
def test_a_file_that_changes_its_size_meanwhile_is_not_kept(
    fake: FakeGateway, transfers: Transfers, movie: Path, change: int
) -> None:
    fake.while_receiving = lambda: os.truncate(movie, len(DATA) + change)
    with pytest.raises(FileChanged, match=r"movie\.bin"):
        transfers.upload_file(movie)
    assert not fake.kept


def test_content_that_reached_the_gateway_damaged_is_told(fake: FakeGateway, transfers: Transfers, movie: Path) -> None:
    fake.checksum = checksum_of(b"something else")
    with pytest.raises(UploadDiffers):
        transfers.upload_file(movie)


def test_a_download_is_verified_and_takes_the_name_it_is_sent(transfers: Transfers, output: Path) -> None:
    progress = Progress()
    downloaded = transfers.download_file(FILE_ID, output, progress)
    assert downloaded.path == output / "movie.bin"
    assert downloaded.path.read_bytes() == DATA
    assert progress.total == len(DATA)
    assert [path.name for path in output.iterdir()] == ["movie.bin"]


def test_a_download_that_breaks_off_goes_on_where_it_was(fake: FakeGateway, transfers: Transfers, output: Path) -> None:
    fake.lost_connections = 2
    progress = Progress()
    transfers.download_file(FILE_ID, output / "mine", progress)
    assert (output / "mine").read_bytes() == DATA
    assert fake.asked == [(0, 0), (1 << 20, 3), (2 << 20, 3)], "of the version that it began with"
    assert min(progress.steps) > 0, "no byte came twice"
    assert progress.total == len(DATA)


def _other_checksum(fake: FakeGateway) -> None:
    fake.checksum = checksum_of(b"something else")


def _no_checksum(fake: FakeGateway) -> None:
    fake.checksum = " "


def _too_short(fake: FakeGateway) -> None:
    fake.sent_size += 1


def _too_long(fake: FakeGateway) -> None:
    fake.sent_size -= 1


def _hostile_name(fake: FakeGateway) -> None:
    fake.sent_name = "../movie.bin"


def _gone(fake: FakeGateway) -> None:
    fake.lost_connections = 100


def _refused(fake: FakeGateway) -> None:
    fake.refusal = SessionEnded()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (_other_checksum, ContentDiffers),
        (_no_checksum, ContentDiffers),
        (_too_short, ContentDiffers),
        (_too_long, ContentDiffers),
        (_hostile_name, InvalidField),
    ],
)
def test_a_download_of_what_it_should_not_be_leaves_nothing_and_the_older_file_alone(
    fake: FakeGateway,
    transfers: Transfers,
    output: Path,
    fault: Callable[[FakeGateway], None],
    error: type[CloudError],
) -> None:
    (output / "movie.bin").write_bytes(b"older")
    fault(fake)
    progress = Progress()
    with pytest.raises(error):
        transfers.download_file(FILE_ID, output, progress)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == {"movie.bin": b"older"}
    assert [path.name for path in output.parent.iterdir()] == ["output"]
    assert progress.total == 0
    # What goes on beyond its announced size could fill the disk.
    assert all(moved <= fake.sent_size for moved in accumulate(progress.steps))


@pytest.mark.parametrize(("fault", "error"), [(_gone, GatewayUnreachable), (_refused, SessionEnded)])
def test_a_download_that_breaks_off_keeps_what_it_has_beside_the_older_file(
    fake: FakeGateway,
    transfers: Transfers,
    output: Path,
    fault: Callable[[FakeGateway], None],
    error: type[CloudError],
) -> None:
    (output / "movie.bin").write_bytes(b"older")
    fault(fake)
    with pytest.raises(error):
        transfers.download_file(FILE_ID, output)
    part = output / f".movie.bin.{FILE_ID[:8]}v3.part"
    assert {path.name for path in output.iterdir()} == {"movie.bin", part.name}
    assert (output / "movie.bin").read_bytes() == b"older"
    kept = part.read_bytes()
    assert kept
    assert DATA.startswith(kept)
    assert transfers.kept_parts() == len(kept)


def test_the_longest_name_can_be_downloaded(fake: FakeGateway, transfers: Transfers, output: Path) -> None:
    fake.sent_name = "é" * 127 + "x"
    assert transfers.download_file(FILE_ID, output).path.read_bytes() == DATA


def test_a_folder_that_is_not_there_is_told_by_its_path(transfers: Transfers, output: Path) -> None:
    with pytest.raises(LocalFile, match="missing"):
        transfers.download_file(FILE_ID, output / "missing" / "movie.bin")


def test_what_is_no_regular_file_is_not_uploaded(transfers: Transfers, output: Path) -> None:
    os.mkfifo(output / "pipe")
    with pytest.raises(LocalFile, match="not a regular file"):
        transfers.upload_file(output / "pipe")


def test_many_files_go_on_after_a_failure_but_not_after_the_session_ended(
    fake: FakeGateway, session: Session, output: Path
) -> None:
    for number in range(100):
        (output / f"{number}").write_bytes(b"x")
    found = plan(list(output.iterdir()), "", "", is_recursive=False)
    (output / "7").unlink()
    outcome = TreeUpload(session, Transfers(session), Unwatched()).run(found)
    assert (outcome.files, len(fake.kept), [str(output / "7") in str(error) for error in outcome.failures]) == (
        99,
        99,
        [True],
    )
    fake.refusal = SessionEnded()
    outcome = TreeUpload(session, Transfers(session), Unwatched()).run(found)
    assert [type(error) for error in outcome.failures] == [SessionEnded]
    assert len(fake.batches) < 2 + 2 * BATCHES


@pytest.fixture
def small(output: Path) -> LocalTree:
    """A hundred files."""
    for number in range(100):
        (output / f"{number}").write_bytes(b"x" * number)
    return plan(list(output.iterdir()), "", "", is_recursive=False)


def test_small_files_go_together_and_large_ones_by_themselves(
    fake: FakeGateway, session: Session, output: Path, small: LocalTree
) -> None:
    (output / "large").write_bytes(DATA[: SMALL_FILE_BYTES + 1])
    found = plan(list(output.iterdir()), "", "", is_recursive=False)
    meter = Progress()
    outcome = TreeUpload(session, Transfers(session), meter).run(found)
    assert (outcome.files, outcome.size, outcome.failures) == (101, found.size, [])
    assert meter.total == found.size
    assert fake.kept == {path.name: path.read_bytes() for path in output.iterdir()}
    assert (sorted(map(len, fake.batches)), len(fake.request_ids)) == ([36, 64], 1)
    ids = [*itertools.chain.from_iterable(fake.batches), *fake.request_ids]
    assert len(set(ids)) == 101
    assert all(ids)


def test_no_message_holds_more_bytes_than_it_should(fake: FakeGateway, session: Session, output: Path) -> None:
    for number in range(9):
        (output / f"{number}").write_bytes(DATA[:SMALL_FILE_BYTES])
    found = plan(list(output.iterdir()), "", "", is_recursive=False)
    assert TreeUpload(session, Transfers(session), Unwatched()).run(found).files == 9
    assert sorted(map(len, fake.batches)) == [1, 4, 4]


def test_a_slow_line_has_the_time_to_bring_what_goes_side_by_side(
    fake: FakeGateway, session: Session, output: Path
) -> None:
    sizes = {"batch": SMALL_FILE_BYTES, "photo": SMALL_FILE_BYTES + 1, "larger photo": PIECE_BYTES}
    for name, size in sizes.items():
        for number in range(4):
            (output / f"{name} {number}").write_bytes(DATA[:size])
    found = plan(list(output.iterdir()), "", "", is_recursive=False)
    assert TreeUpload(session, Transfers(session), Unwatched()).run(found).files == 12
    for name, size in sizes.items():
        with_it = 4 if name == "batch" else 1
        assert fake.patience_s[f"{name} 0"] > size * with_it / (5 << 10), f"{name}: at 5 KiB/s, the share of one"


def test_of_files_that_are_not_small_no_more_are_under_way_than_a_gateway_takes_of_one_account(
    fake: FakeGateway, session: Session, output: Path
) -> None:
    """It takes in so many chunks at once; of slow lines it would refuse those that wait."""
    for number in range(12):
        (output / f"photo {number}").write_bytes(DATA[: SMALL_FILE_BYTES + 1])
    under_way, most, changed = 0, 0, threading.Condition()

    def receive() -> None:
        nonlocal under_way, most
        with changed:
            under_way += 1
            most = max(most, under_way)
            changed.notify_all()
            changed.wait_for(lambda: most > 1, 5)
        time.sleep(0.05)  # too many would come within it
        with changed:
            under_way -= 1

    fake.while_receiving = receive
    found = plan(list(output.iterdir()), "", "", is_recursive=False)
    assert TreeUpload(session, Transfers(session), Unwatched()).run(found).files == 12
    assert 2 <= most <= CHUNKS_OF_ONE


def test_a_lone_small_file_goes_by_itself(fake: FakeGateway, session: Session, output: Path) -> None:
    (output / "a").write_bytes(b"x")
    (output / "large").write_bytes(DATA)
    found = plan(list(output.iterdir()), "", "", is_recursive=False)
    assert TreeUpload(session, Transfers(session), Unwatched()).run(found).files == 2
    assert (fake.batches, len(fake.request_ids)) == ([], 2)


def test_a_gateway_that_takes_no_batches_gets_each_file_by_itself(
    fake: FakeGateway, session: Session, small: LocalTree
) -> None:
    fake.takes_batches = False
    meter = Progress()
    outcome = TreeUpload(session, Transfers(session), meter).run(small)
    assert (outcome.files, len(fake.kept), len(fake.request_ids), outcome.failures) == (100, 100, 100, [])
    assert meter.total == small.size


def test_what_is_wrong_with_one_file_of_a_batch_is_told_of_that_file(
    fake: FakeGateway, session: Session, output: Path, small: LocalTree
) -> None:
    (output / "7").unlink()
    (output / "8").write_bytes(DATA)  # it has grown meanwhile
    fake.refused_names = {"9": [QuotaExceeded(name="9", needed="9 bytes", left="none", quota="1 GB")]}
    outcome = TreeUpload(session, Transfers(session), Unwatched()).run(small)
    assert (outcome.files, len(fake.kept)) == (98, 98)
    assert fake.kept["8"] == DATA
    told = {type(error): str(error) for error in outcome.failures}
    assert told.keys() == {LocalFile, QuotaExceeded}
    assert str(output / "7") in told[LocalFile]
    assert str(output / "9") in told[QuotaExceeded]


def test_after_a_lost_answer_the_same_batch_is_sent_again(
    fake: FakeGateway, session: Session, small: LocalTree
) -> None:
    fake.lost_connections = 1
    meter = Progress()
    outcome = TreeUpload(session, Transfers(session), meter).run(small)
    assert (outcome.files, outcome.failures) == (100, [])
    assert len(fake.batches) == 3
    assert len({tuple(batch) for batch in fake.batches}) == 2
    assert meter.total == small.size


def test_only_the_files_that_found_no_nodes_are_sent_again(
    fake: FakeGateway, session: Session, small: LocalTree
) -> None:
    fake.refused_names = {"7": [QuorumMissed(stored=1, quorum=2)] * 2, "8": [QuorumMissed(stored=1, quorum=2)] * 10}
    outcome = TreeUpload(session, Transfers(session), Unwatched()).run(small)
    assert (outcome.files, [type(error) for error in outcome.failures]) == (99, [QuorumMissed])
    assert sorted(map(len, fake.batches))[-2:] == [36, 64]
    assert sum(map(len, fake.batches)) <= 100 + 2 + 4


def test_a_content_that_a_gateway_has_otherwise_is_told(fake: FakeGateway, session: Session, small: LocalTree) -> None:
    fake.checksum = checksum_of(b"other")
    outcome = TreeUpload(session, Transfers(session), Unwatched()).run(small)
    assert outcome.files == 0
    assert [type(error) for error in outcome.failures] == [UploadDiffers] * 100


def test_batches_end_at_once_when_a_person_wants_no_more(fake: FakeGateway, session: Session, small: LocalTree) -> None:
    waiting, going_on = threading.Event(), threading.Event()
    fake.while_receiving = lambda: waiting.set() or going_on.wait(60)  # type: ignore[func-returns-value]
    transfers = Transfers(session)
    threading.Thread(target=lambda: waiting.wait(60) and transfers.cancel(), daemon=True).start()
    started = time.monotonic()
    with pytest.raises((Stopped, grpc.FutureCancelledError)):
        TreeUpload(session, transfers, Unwatched()).run(small)
    assert time.monotonic() - started < 50
    going_on.set()


def test_messages_grow_with_the_line_and_end_where_chunks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(source_module, "time", SimpleNamespace(monotonic=lambda: clock))
    path = tmp_path / "film"
    path.write_bytes(bytes(20 << 20))
    with source_of(path) as source:
        messages = Pieces(source, 0, source.size, lambda _: None).after(b"head")
        next(messages)
        lengths = []
        for number, message in enumerate(messages):
            lengths.append(len(split_data(message)[0]) >> 10)
            if number in {5, 6}:
                clock += SLOW_S + 0.05
    assert lengths[:6] == [256, 512, 1024, 2048, 256, 4096]
    assert lengths[6:8] == [2048, 1024], "on a slow line they shrink again"
    ends = set(accumulate(lengths))
    assert {4096, 8192, 12288, 16384, 20480} <= ends
