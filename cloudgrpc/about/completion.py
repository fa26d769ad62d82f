"""`cloudgrpc completion SHELL`: prints what a shell needs to complete our words by itself.

The script holds them all: a start of the program at every Tab would take half a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cloudgrpc.about.words import tree

if TYPE_CHECKING:
    import argparse

SCRIPTS = {
    "bash": "cloudgrpc.about.for_bash",
    "zsh": "cloudgrpc.about.for_zsh",
    "fish": "cloudgrpc.about.for_fish",
}


def run(_load: object, args: argparse.Namespace) -> None:
    print(importlib.import_module(SCRIPTS[args.shell]).script(tree(args.parser, args.further)), end="")
