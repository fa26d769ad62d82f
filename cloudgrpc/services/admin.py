"""AdminService: what operators see and do, put together from its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.services.admin_care import AdminCare
from cloudgrpc.services.admin_certificates import AdminCertificates
from cloudgrpc.services.admin_events import AdminEvents
from cloudgrpc.services.admin_nodes import AdminNodes
from cloudgrpc.services.admin_payments import AdminPayments
from cloudgrpc.services.admin_secrets import AdminSecrets
from cloudgrpc.services.admin_users import AdminUsers
from cloudgrpc.services.admin_views import AdminViews

if TYPE_CHECKING:
    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.backups import Backups
    from cloudgrpc.actions.checking import Checking
    from cloudgrpc.actions.event_feed import EventFeed
    from cloudgrpc.actions.joining import Joining
    from cloudgrpc.actions.master_keys import MasterKeys
    from cloudgrpc.actions.node_care import NodeCare
    from cloudgrpc.actions.overview import Overviews
    from cloudgrpc.actions.payment_desk import PaymentDesk
    from cloudgrpc.actions.people import People
    from cloudgrpc.actions.speeds import Speeds
    from cloudgrpc.actions.standing import Standing


class AdminService(
    AdminPayments, AdminViews, AdminUsers, AdminNodes, AdminEvents, AdminCare, AdminSecrets, AdminCertificates
):
    """`mode`: of the account at Campay, as in sales.Campay.mode."""

    def __init__(
        self,
        admins: Admins,
        desk: PaymentDesk,
        mode: str,
        *,
        overviews: Overviews,
        people: People,
        speeds: Speeds,
        feed: EventFeed,
        node_care: NodeCare,
        backups: Backups,
        checking: Checking,
        standing: Standing,
        master_keys: MasterKeys,
        joining: Joining,
    ) -> None:
        self._admins = admins
        self._desk = desk
        self._mode = mode
        self._overviews = overviews
        self._people = people
        self._speeds = speeds
        self._feed = feed
        self._node_care = node_care
        self._backups = backups
        self._checking = checking
        self._standing = standing
        self._joining = joining
        self._master_keys = master_keys
