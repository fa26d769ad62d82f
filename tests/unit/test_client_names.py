"""Where a download is written: never outside the folder that was told, whatever name a server sends."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudgrpc.clients.local_files import check_local_name, destination, mime_type
from cloudgrpc.errors import InvalidField, LocalFile

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b", "..\n", "\u202egpj.exe", "x" * 256, "é" * 128, "\ud800"]
PIECES = st.sampled_from(["..", ".", "/", "\\", "\0", "etc", "~", " ", "\n", "é", "\u202e", "\udcff"])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as made:
        yield Path(made).resolve()


@given(name=st.text() | st.lists(PIECES, max_size=6).map("".join))
@example(name="../../etc/passwd")
@example(name="..")
def test_no_name_of_a_server_leads_outside_the_folder(folder: Path, name: str) -> None:
    try:
        path = destination(folder, name)
    except InvalidField:
        return
    assert path.parent == folder
    assert Path(os.path.normpath(path)).parent == folder
    assert os.fsencode(path.name)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_with_what_to_do(folder: Path, name: str) -> None:
    with pytest.raises(InvalidField, match="name the output yourself"):
        destination(folder, name)


@pytest.mark.parametrize("name", ["a.txt", ".hidden", "-rf", "a b", "..a", "é", "👩\u200d🚀", "x" * 255])
def test_an_ordinary_name_is_kept(folder: Path, name: str) -> None:
    assert destination(folder, name) == folder / name


def test_a_name_of_the_servers_does_not_matter_when_the_person_names_the_output(folder: Path) -> None:
    assert destination(folder / "mine", "../../x") == folder / "mine"


def test_a_link_in_the_folder_is_replaced_itself(folder: Path, tmp_path: Path) -> None:
    link = folder / "link"
    link.symlink_to(tmp_path / "elsewhere")
    assert destination(folder, "link") == link


def test_what_is_not_a_regular_file_is_never_replaced(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "inner").mkdir()
    for name in ("pipe", "inner"):
        with pytest.raises(LocalFile, match=name):
            destination(folder, name)
    with pytest.raises(LocalFile, match="not a regular file"):
        destination(Path("/dev/null"), "x")


@pytest.mark.parametrize("name", ["a\nb", os.fsdecode(b"\xff")])
def test_a_local_name_that_the_drive_cannot_hold_is_told_with_its_path(name: str) -> None:
    with pytest.raises(LocalFile, match=r"^/home/") as told:
        check_local_name(Path("/home") / name, name)
    assert str(told.value).endswith(": cannot be kept under its name, which must not contain control characters.")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jpg", "image/jpeg"), ("a", "application/octet-stream"), ("a.svgz", "application/octet-stream")],
)
def test_the_mime_type_is_that_of_the_bytes(name: str, kind: str) -> None:
    assert mime_type(name) == kind
