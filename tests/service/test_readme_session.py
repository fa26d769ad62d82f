"""The session that the README shows, played through the real program in a terminal: it is what a person sees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from cluster_harness import CALM
from person import Person
from screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster_harness import Cluster

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
FILES = {"beach.jpg": b"\0" * 2_411_724, "boat.jpg": b"\1" * 1_800_000, "plan.txt": b"Monday: the beach.\n"}
NEWER_PLAN = b"Monday: the mountain.\n"
TYPED = re.compile(r"(?P<prompt>(?:not signed in|\S+@\S+ /\S*)>|Code:) (?P<line>.+)")
# What differs from one run to the next; the longest first.
CHANGING = re.compile(r"…|\b[0-9a-f]{32}\b|\b[0-9a-f]{8}\b|20[0-8]\d-\d\d-\d\d(?: \d\d:\d\d)?|127\.0\.0\.1:\d+")

# What took a second or more is told with its pace.
SIZE_ENDS, PACE = r"B\)", r"B(?:, \d.*/s)?\)"


def shown_session() -> list[str]:
    text = README[README.index("### A session") :]
    lines = [line[4:] for line in re.search(r"(?:\n(?: {4}.*)?)+", text)[0].strip("\n").splitlines()]  # type: ignore[index]
    return lines[1:]  # the first starts the shell


def steps(lines: list[str]) -> Iterator[tuple[list[str], str, str]]:
    """What is to be seen, the prompt that follows it, and what is typed then."""
    seen: list[str] = []
    for line in lines:
        typed = TYPED.fullmatch(line)
        if typed:
            yield seen, typed["prompt"], typed["line"]
            seen = []
        else:
            seen.append(line)


def pattern(line: str) -> str:
    fixed = [re.escape(part).replace(SIZE_ENDS, PACE) for part in CHANGING.split(line)]
    return ".+".join(fixed)


def test_a_person_sees_what_the_readme_shows(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    alice = Person(make_cluster(nodes=2, **CALM), tmp_path)
    for name, data in FILES.items():
        alice.write(f"holidays/{name}", data)
    alice.write("plan.txt", NEWER_PLAN)
    terminal = alice.terminal()
    screen = Screen(terminal)
    typed = ""
    for seen, prompt, line in steps(shown_session()):
        wanted = [*map(pattern, seen), re.escape(prompt)]
        if typed:
            wanted = [f".*{re.escape(typed)}", *wanted]

        screen.wait_for_end(wanted)
        typed = alice.codes()[-1] if prompt == "Code:" else line
        terminal.send(f"{typed}\r")
    assert terminal.left() == 0
