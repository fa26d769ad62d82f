"""What the tests of the executable share: the executable, and one demo cluster of it. Only scripts/test.py --release
runs them, since it builds what they look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from executable_run import Demo

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo cluster of the one file, with two nodes, in a folder that was empty."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    try:
        yield demo.started()
    finally:
        demo.close()
