"""Text as groff and mandoc want it in a manual page."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Signs that a typesetter would make prettier, and that then could not be copied.
SIGNS = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti", "`": r"\(ga", "…": "..."}


def plain(text: str) -> str:
    told = "".join(SIGNS.get(letter, letter) for letter in text)
    return re.sub(r"^\.", r"\\&.", told, flags=re.MULTILINE)


def bold(text: str) -> str:
    return rf"\fB{plain(text)}\fR"


def italic(text: str) -> str:
    return rf"\fI{plain(text)}\fR"


def sentence(text: str) -> str:
    """One line that begins large and ends with a full stop."""
    line = " ".join(text.split()).rstrip(".")
    return f"{line[:1].upper()}{line[1:]}." if line else ""


def title(macro: str, text: str) -> str:
    return f'.{macro} "{plain(text)}"'


def entry(tag: str, text: str) -> Iterator[str]:
    """`tag`: roff already."""
    yield from (".TP", tag, plain(text) or r"\&")


def page(lines: Iterable[str]) -> str:
    """The whole, without the paragraph that a heading begins anyhow."""
    kept: list[str] = []
    for line in lines:
        if line != ".PP" or not kept or not kept[-1].startswith((".SH", ".SS")):
            kept.append(line)
    return "\n".join(kept) + "\n"


def prose(text: str) -> Iterator[str]:
    """Paragraphs; lines that are indented, or have columns, stay as they are."""
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(text).strip("\n")):
        filled: list[str] = []
        kept: list[str] = []
        for line in paragraph.splitlines():
            if line.startswith(" ") or "   " in line:
                kept.append(line)
            elif kept:
                yield from _paragraph(filled, kept)
                filled, kept = [line], []
            else:
                filled.append(line)
        yield from _paragraph(filled, kept)


def _paragraph(filled: list[str], kept: list[str]) -> Iterator[str]:
    if filled:
        yield from (".PP", plain(" ".join(line.strip() for line in filled)))
    if kept:
        yield from example("\n".join(kept))


def example(text: str) -> Iterator[str]:
    """As typed."""
    yield from (".PP", ".RS 4", ".nf", *plain(textwrap.dedent(text)).splitlines(), ".fi", ".RE")
