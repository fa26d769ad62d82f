"""Somebody who uses the shell: one command, a script on stdin, or a terminal, with a home of their own."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import termios
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import pexpect
from pexpect.fdpexpect import fdspawn

from cloudgrpc.clients.session import Gateway, SessionStore, SignIn
from cloudgrpc.errors import Exit
from cloudgrpc.shell.shell import Shell
from program import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from cluster_harness import Cluster
    from user import User

    Spawn = fdspawn[str]  # generic for the type checker only
else:
    Spawn = fdspawn


class Person:
    """Somebody at a terminal, with a folder and a home of their own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        home = folder / "home"
        home.mkdir()
        self.environment = {
            **cluster.environment(),
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "TERM": "xterm",
        }

    @property
    def store(self) -> SessionStore:
        return SessionStore(self.folder / "home" / ".config" / "cloudgrpc")

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(*words),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def shell(self, *words: str, said: str = "", exit_code: int = Exit.OK) -> str:
        """Run one command, or the script `said`; returns stdout and stderr."""
        process = self.start(*words)
        out, err = process.communicate(said, timeout=60)
        assert "Traceback" not in err
        assert process.returncode == exit_code, f"{process.returncode} instead of {exit_code}:\n{out}{err}"
        return out + err

    def here(self, *words: str, said: str = "", exit_code: int = Exit.OK) -> str:
        """As `shell`, but in this process: for many small things, each of which would take the start of a program."""
        told = io.StringIO()
        with Gateway(self.cluster.address) as gateway, redirect_stdout(told), redirect_stderr(told):
            shell = Shell(gateway, self.store)
            if words:
                shell.run(list(words))
            else:
                shell.run_script(said.splitlines())
        assert shell.exit_code == exit_code, f"{shell.exit_code} instead of {exit_code}:\n{told.getvalue()}"
        return told.getvalue()

    def script_here(self, *lines: str) -> str:
        """As `script`, but in this process."""
        return self.here(said="\n".join(lines))

    def output(self, *words: str) -> bytes:
        """What one command, which succeeds, writes to stdout."""
        command = self._command(*words)
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, check=True
        ).stdout

    def script(self, *lines: str) -> str:
        """Run commands of one process, all of which succeed."""
        return self.shell(said="\n".join(lines))

    def sign_in(self, *words: str, attempts: int = 0) -> str:
        """Run enroll or login, with `attempts` wrong codes before the right one."""
        seen = self.codes()
        process = self.start(*words)
        assert process.stdin
        self.cluster.wait(lambda: self.codes()[len(seen) :], what="a code")
        code = self.codes()[-1]
        out, err = process.communicate(
            "12\n" + f"{other_than(code)}\n" * attempts + f"{code[:3]} {code[3:]}\n", timeout=60
        )
        assert process.returncode == Exit.OK, out + err
        return out + err

    def is_signed_in_as(self, user: User) -> None:
        """From now on, as if the shell had opened that session."""
        self.store.remember(self.cluster.address, SignIn(user.email, user.token))

    def terminal(self, *words: str) -> Terminal:
        return Terminal(self._command(*words), self.folder, self.environment)

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def codes(self, email: str = r"\S+") -> list[str]:
        """Every code that was sent so far, to anybody or to this address."""
        return re.findall(rf"OTP code for {email}: (\d{{6}}) ", self.cluster.gateway.out.read_text())

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "cloudgrpc", "shell", "--gateway", self.cluster.address, *words]


class Terminal(Spawn):
    """A terminal in which one command runs.

    Not pexpect's own, which forks: in a process that speaks gRPC, as the tests' does, the child may abort before it
    becomes the command.
    """

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (40, 100))
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True
        )
        os.close(theirs)
        super().__init__(ours, encoding="utf-8", timeout=PATIENCE_S)

    def give(self, command: str) -> None:
        """Type a command when the prompt is there, in a root folder and without colours."""
        self.expect_exact("/>")
        self.sendline(command)

    def leave(self) -> int:
        """Ctrl-D; then as `left`."""
        self.send("\x04")
        return self.left()

    def left(self) -> int:
        """The exit code of the command, which ends now."""
        self.expect(pexpect.EOF)
        self.close()
        return self._process.wait(PATIENCE_S)


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"
