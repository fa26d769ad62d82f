"""Sizes as people write them."""

from __future__ import annotations

import argparse
import re

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
MOST = (1 << 63) - 1  # what the wire holds


def size(word: str) -> int:
    """Bytes; 10k, 10kb and 10KiB are 10 * 1024, as sizes are shown. For argparse."""
    found = SIZE.fullmatch(word)
    bytes_ = round(float(found[1]) * FACTORS[found[2].lower()]) if found else -1
    if not 0 <= bytes_ <= MOST:
        raise argparse.ArgumentTypeError(f"{word} is no size; write it as 500k, 10M or 1.5G")
    return bytes_
