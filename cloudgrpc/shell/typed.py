"""The line a person types at the prompt, before it is complete: its words so far, and how one of them goes on. Pure.

Words are split as a POSIX shell does, and as `shlex.split` does with the line once it is complete.
"""

from __future__ import annotations

from dataclasses import dataclass

SPACES = " \t\r\n"  # to shlex; other spaces are letters
QUOTES = "'\""
ESCAPED = SPACES + QUOTES + "\\"  # what would end an unquoted word, or mean something else in it


@dataclass(frozen=True)
class Typed:
    words: tuple[str, ...]  # before the one that is being typed
    word: str  # as far as it goes, without its quotes
    quote: str  # the one that is open; "" for none


def typed(line: str) -> Typed:
    """`line`: up to the cursor."""
    words: list[str] = []
    word, quote, is_open, is_escaped = "", "", False, False
    for letter in line:
        if is_escaped:
            # Within double quotes a backslash stands for itself, but before these two.
            word += letter if not quote or letter in {quote, "\\"} else f"\\{letter}"
            is_escaped = False
        elif letter == "\\" and quote != "'":
            is_escaped = is_open = True
        elif quote:
            word, quote = (word, "") if letter == quote else (word + letter, quote)
        elif letter in QUOTES:
            quote, is_open = letter, True
        elif letter in SPACES:
            words += [word] if is_open else []
            word, is_open = "", False
        else:
            word, is_open = word + letter, True
    return Typed(tuple(words), word, quote)


def continued(rest: str, quote: str) -> str:
    """`rest` as it is typed to go on with a word in which `quote` is open."""
    if quote == "'":
        return rest.replace("'", "'\\''")
    special = '"\\' if quote else ESCAPED
    return "".join(f"\\{letter}" if letter in special else letter for letter in rest)
