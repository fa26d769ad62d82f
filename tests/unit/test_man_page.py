"""The manual page: whole, and such that every formatter takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import date

import pytest

from cloudgrpc import cli, config
from cloudgrpc.about import man_text, roff
from cloudgrpc.about.words import Word, tree
from cloudgrpc.errors import Exit


@pytest.fixture(scope="module")
def words() -> Word:
    args = cli.parsed(["man"])
    return tree(args.parser, args.further)


@pytest.fixture(scope="module")
def page(words: Word) -> str:
    return man_text.page(words, date(2026, 11, 23))


def as_read(page: str) -> str:
    """What remains of it when fonts and signs are taken as they are meant."""
    for sign, told in roff.SIGNS.items():
        page = page.replace(told, sign)
    return re.sub(r"\\f[BIR]", "", page)


def test_it_tells_every_role_act_and_option(words: Word, page: str) -> None:
    told = as_read(page)
    for word in words.all():
        # The acts of pay are told once, as a role's.
        if word.path and word.path[:2] != ("shell", "pay"):
            typed = word.path[1:] if word.path[0] == "shell" and word.path[1:] else ("cloudgrpc", *word.path)
            assert " ".join(typed) in told
        assert [name for option in word.options for name in option.names if name not in told] == []
    assert "--exit-with-parent" not in told


def test_it_tells_exit_codes_settings_and_the_environment(page: str) -> None:
    told = as_read(page)
    status = told[told.index('.SH "EXIT STATUS"') : told.index('.SH "ENVIRONMENT"')]
    assert {value for name, value in vars(Exit).items() if name.isupper()} == set(
        map(int, re.findall(r"^\d+$", status, re.MULTILINE))
    )
    for section, kind in config.sections().items():
        assert f"[{section}]" in told
        assert [key for key in kind.__struct_fields__ if not re.search(rf"^{key}\*? = ", told, re.MULTILINE)] == []
    assert "CAMPAY_BASE_URL" in told
    assert 'sender_name = "CloudGrpc"' in told
    assert "password* =" in told


def test_no_line_of_text_is_taken_for_a_request() -> None:
    assert list(roff.prose(".env is read.\n'quoted' ~/x a-b \\n")) == [
        ".PP",
        r"\&.env is read. \(aqquoted\(aq \(ti/x a\-b \en",
    ]


@pytest.mark.parametrize(
    "command",
    [["mandoc", "-T", "lint", "-W", "warning"], ["groff", "-man", "-Tutf8", "-ww", "-z"]],
    ids=lambda each: each[0],
)
def test_a_formatter_has_nothing_to_say_about_it(page: str, command: list[str]) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} on this machine")
    ran = subprocess.run(command, input=page, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("", "")


def test_in_a_pipe_it_is_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["man"]) == 0
    assert re.match(r'\.TH CLOUDGRPC 1 "\d{4}-\d\d-\d\d" "CloudGrpc ', capsys.readouterr().out)
