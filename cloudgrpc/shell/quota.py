"""What a person's room is used for, drawn as one bar with its legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.pb import cloud_storage_pb2 as pb

CELLS = 50


@dataclass(frozen=True)
class Part:
    words: str
    size: int
    sign: str  # in the bar
    style: str


def parts(info: pb.StorageInfoResponse, usage: pb.StorageUsageResponse) -> list[Part]:
    return [
        Part("your files", usage.live_bytes, "#", "32"),
        Part("older versions", usage.version_bytes, "v", "36"),
        Part("in the trash", usage.trash_bytes, "t", "33"),
        Part("uploads under way", usage.reserved_bytes, "u", "35"),
        Part("free", max(0, info.available_bytes), ".", "2"),
    ]


def bar(shares: Sequence[Part]) -> str:
    """What is there at all gets a cell; the largest makes up for what rounding takes or leaves."""
    total = sum(part.size for part in shares) or 1
    cells = [max(1, round(part.size / total * CELLS)) if part.size > 0 else 0 for part in shares]
    largest = max(range(len(shares)), key=lambda index: (cells[index], index))
    cells[largest] += CELLS - sum(cells)
    return "".join(render.styled(part.sign * count, part.style) for part, count in zip(shares, cells, strict=True))


def show_bar(info: pb.StorageInfoResponse, usage: pb.StorageUsageResponse) -> None:
    share = info.used_bytes / info.allocated_bytes if info.allocated_bytes else 0.0
    print(f"{size_words(info.used_bytes)} of {size_words(info.allocated_bytes)} used ({share:.0%})")
    print(f"[{bar(parts(info, usage))}]")


def show(info: pb.StorageInfoResponse, usage: pb.StorageUsageResponse) -> None:
    show_bar(info, usage)
    print()
    for part in parts(info, usage):
        print(f"  {render.styled(part.sign, part.style)}  {part.words:<18}{size_words(part.size):>10}")
    print(f"\n{render.count(usage.total_files, 'file')}, {render.count(usage.total_folders, 'folder')}")
    if usage.usage_by_type:
        print("\nBy type, with older versions and what lies in the trash:")
        kinds = sorted(usage.usage_by_type.items(), key=lambda kind: (-kind[1], kind[0]))
        rows = [(size_words(size), render.shown(name)) for name, size in kinds]
        render.print_table(["Size", "Type"], rows, right=["Size"])


def facts(info: pb.StorageInfoResponse, usage: pb.StorageUsageResponse) -> dict[str, object]:
    """Bytes: allocated, used and available; used is live (the newest contents), versions (older ones), trash and
    reserved (uploads under way) together. "by_type": bytes by MIME type, with versions and trash."""
    return {
        "allocated_bytes": info.allocated_bytes,
        "used_bytes": info.used_bytes,
        "available_bytes": info.available_bytes,
        "live_bytes": usage.live_bytes,
        "version_bytes": usage.version_bytes,
        "trash_bytes": usage.trash_bytes,
        "reserved_bytes": usage.reserved_bytes,
        "files": usage.total_files,
        "folders": usage.total_folders,
        "by_type": dict(sorted(usage.usage_by_type.items())),
    }
