"""Loaded by any Python that has this folder on its path: at its end it tells what it had imported, and how long it ran.

Into $IMPORTS_TOLD, a folder, as <process id>.json: the words it was started with, the packages that are not Python's
own, and the CPU time of this process, in seconds.
"""

import atexit
import json
import os
import sys
import time
from pathlib import Path


def _tell() -> None:
    packages = sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names)
    told = {"words": sys.orig_argv, "packages": packages, "cpu_s": time.process_time()}
    path = Path(os.environ["IMPORTS_TOLD"]) / str(os.getpid())
    path.write_text(json.dumps(told), encoding="utf-8")
    path.replace(path.with_suffix(".json"))  # whole, whoever looks meanwhile


if "IMPORTS_TOLD" in os.environ:
    atexit.register(_tell)
