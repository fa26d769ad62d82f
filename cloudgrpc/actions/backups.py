"""Backups of the metadata, made while everything runs, and brought back into an empty gateway.

Each passes through a file of the data folder that has no name: nobody else reads it, and no crash leaves it behind.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from cloudgrpc import __version__
from cloudgrpc.core.backup_format import Seal
from cloudgrpc.errors import LocalFile
from cloudgrpc.meta import backup, events, restoring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import BinaryIO

    from cloudgrpc.actions.nodes import Nodes
    from cloudgrpc.actions.standing import Standing
    from cloudgrpc.core.operators import Operator
    from cloudgrpc.meta.backup import Made
    from cloudgrpc.meta.db import Database
    from cloudgrpc.meta.restoring import Restored

log = logging.getLogger(__name__)

PIECE_BYTES = 1 << 20


class Backups:
    """`folder`: with room for a backup, on this machine."""

    def __init__(self, database: Database, folder: Path, nodes: Nodes, standing: Standing) -> None:
        self._db = database
        self._folder = folder
        self._nodes = nodes
        self._standing = standing
        self._turn = asyncio.Lock()  # one is made at a time

    async def make(self, operator: Operator) -> AsyncIterator[bytes]:
        """A backup of this moment, piece by piece. It is made once its last piece was taken. Raises: LocalFile."""
        with self._spool() as file:
            async with self._turn:
                made = await self._written(file)
            file.seek(0)
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece
        await self._db.run(_note_made, made, operator.name)
        log.info("a backup of %d bytes was made for %s", made.size_bytes, operator.name)

    async def restore(self, operator: Operator, pieces: AsyncIterator[bytes]) -> Restored:
        """Fill this empty gateway with a backup; it is read-only from then on.

        Raises: GatewayNotEmpty, BackupUnreadable, LocalFile.
        """
        await self._db.read(restoring.check_empty)  # before anybody sends gigabytes for nothing
        seal = Seal()
        with self._spool() as file:
            async for piece in pieces:
                await asyncio.to_thread(self._keep, file, seal, piece)
            seal.check()
            restored = await self._db.run(restoring.restore, file, operator.name)
        self._standing.forget()
        await self._nodes.take_cluster_id()
        log.warning("restored cluster %s from a backup: read-only until it is reconciled", restored.cluster_id)
        return restored

    def _spool(self) -> BinaryIO:
        import tempfile

        try:
            return tempfile.TemporaryFile(dir=self._folder)
        except OSError as error:
            raise self._failed(error) from error

    async def _written(self, file: BinaryIO) -> Made:
        try:
            return await self._db.read(backup.write, file, __version__)
        except OSError as error:
            raise self._failed(error) from error

    def _keep(self, file: BinaryIO, seal: Seal, piece: bytes) -> None:
        try:
            file.write(piece)
        except OSError as error:
            raise self._failed(error) from error
        seal.update(piece)

    def _failed(self, error: OSError) -> LocalFile:
        return LocalFile(path=self._folder, reason=error.strerror or error)


def _note_made(made: Made, operator: str) -> None:
    events.record(
        "backup.made",
        "a backup of the metadata was made",
        by=events.OPERATOR,
        operator=operator,
        made_at=made.made_at,
        bytes=made.size_bytes,
        rows=made.rows,
    )
