"""The role `cloudgrpc pay sandbox` as a process: what it prints is enough to use it."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.outside.campay import Campay, Unclear
from cloudgrpc.outside.campay_plays import table
from cloudgrpc.sales import Campay as Settings
from program import PATIENCE_S, Program, clean_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Role(Program):
    def __init__(self, folder: Path, port: int, name: str) -> None:
        words = ["pay", "sandbox", "--port", str(port), "--data-dir", str(folder / "data")]
        super().__init__(name, words, clean_environment(), folder)

    def says(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self.out.read_text())):
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.02)
        return found

    def settings(self) -> Settings:
        """As a person copies them from the screen."""
        self.says("WEBHOOK_KEY=.+\n")
        told = dict(re.findall(r"^  (\w+)=(\S+)$", self.out.read_text(), re.MULTILINE))
        return Settings(
            base_url=told["CAMPAY_BASE_URL"],
            username=told["CAMPAY_APP_USERNAME"],
            password=told["CAMPAY_APP_PASSWORD"],
            webhook_key=told["CLOUDGRPC_CAMPAY_WEBHOOK_KEY"],
        )


@pytest.fixture
def role(tmp_path: Path) -> Iterator[Role]:
    role = Role(tmp_path, free_port(), "sandbox")
    role.start()
    yield role
    role.kill()


def test_what_the_screen_says_is_enough_to_collect_and_a_restart_keeps_it(role: Role, tmp_path: Path) -> None:
    async def collect(campay: Campay) -> str:
        with pytest.raises(Unclear):  # the cut reaches us through the real server, too
            await campay.collect("p-22", 10, "237690000022", "Starter")
        return (await campay.collect("p-1", 10, "237670000001", "Starter")).reference

    with closing(Campay(role.settings())) as campay:
        reference = asyncio.run(collect(campay))
    role.says(f"transaction {reference}: SUCCESSFUL")
    assert all(line in role.out.read_text() for line in table())
    assert "collect 10 XAF from 23767*****01: succeeds at once" in role.out.read_text()
    second = Role(tmp_path, int(role.words[3]), "second")
    second.start()
    assert second.wait() == 15
    assert second.err.read_text().splitlines()[-1] == "Choose another port with --port."
    assert role.stop() == 0
    assert role.err.read_text() == ""
    role.start()
    role.says("transactions  2 from before")
    assert role.stop() == 0
