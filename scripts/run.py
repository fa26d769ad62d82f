"""`python3 scripts/run.py ROLE …`: sets up what is missing, then becomes the program `cloudgrpc ROLE …`.

The working folder stays the caller's: there the program looks for config.toml and .env and keeps its data.
"""

from __future__ import annotations

import os
import sys

import environment


def main(words: list[str]) -> None:
    try:
        environment.ensure("run")
    except KeyboardInterrupt:
        environment.say("\nstopped; the next start goes on with the set-up")
        sys.exit(130)
    python = str(environment.PYTHON)
    # exec, not a child: signals and the exit code are then the program's own.
    os.execve(python, [python, "-m", "cloudgrpc", *(words or ["--help"])], environment.program_environment())


if __name__ == "__main__":
    main(sys.argv[1:])
