"""The gateway's part in who may take part: its authority, and the entrance that join codes tell of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.actions.joining import Entrance, Joining
from cloudgrpc.errors import AuthorityMissing
from cloudgrpc.trust.gateway_papers import EVERYWHERE, authority_of, door_of, reached_at
from cloudgrpc.trust.identity import THE_GATEWAY
from cloudgrpc.trust.papers import FOLDER, Papers

if TYPE_CHECKING:
    from cloudgrpc.config import Config
    from cloudgrpc.core.rotation import AnySecret
    from cloudgrpc.meta.db import Database


def build_joining(config: Config, database: Database, secret: AnySecret) -> Joining:
    """Raises: SettingsWrong, LocalFile."""

    def entrance() -> Entrance:
        papers = Papers.open(config.data_folder / FOLDER, THE_GATEWAY)
        if papers is None:
            raise AuthorityMissing
        root, name = door_of(config, papers)
        return Entrance(reached_at(config, papers), config.gateway.port, name, root)

    host, port = config.cluster_place
    return Joining(
        database,
        authority_of(config),
        entrance,
        secret,
        cluster_place=(host if config.cluster.listen and host not in EVERYWHERE else "", port),
        tries_per_hour=config.limits.join_tries_per_hour,
    )
