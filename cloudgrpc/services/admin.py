"""AdminService: what operators see and do, put together from its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.services.admin_care import AdminCare
from cloudgrpc.services.admin_events import AdminEvents
from cloudgrpc.services.admin_nodes import AdminNodes
from cloudgrpc.services.admin_payments import AdminPayments
from cloudgrpc.services.admin_views import AdminViews

if TYPE_CHECKING:
    from cloudgrpc.actions.admins import Admins
    from cloudgrpc.actions.payment_desk import PaymentDesk


class AdminService(AdminPayments, AdminViews, AdminNodes, AdminEvents, AdminCare):
    """`mode`: of the account at Campay, as in sales.Campay.mode."""

    def __init__(self, admins: Admins, desk: PaymentDesk, mode: str) -> None:
        self._admins = admins
        self._desk = desk
        self._mode = mode
