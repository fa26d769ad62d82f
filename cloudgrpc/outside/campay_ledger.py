"""The sandbox's transactions, kept in a journal so that a restart forgets none.

<data folder>/campay_sandbox.jsonl     a line for every change, the whole transaction each; the last one counts
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from cloudgrpc.errors import LocalFile
from cloudgrpc.outside.campay_plays import FAILED, PENDING, SUCCESSFUL

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Transaction:
    external_reference: str
    phone: str
    operator: str
    amount: int
    description: str
    reference: str = field(default_factory=lambda: str(uuid.uuid4()))
    code: str = field(default_factory=lambda: f"CP{time.strftime('%y%m%d')}U{secrets.token_hex(3).upper()}")
    status: str = PENDING
    operator_reference: str = ""
    reason: str = ""
    made_at: float = field(default_factory=time.time)
    steps_done: int = 0

    def become(self, status: str) -> None:
        self.status = status
        self.reason = "The payer declined on the phone" if status == FAILED else ""
        self.operator_reference = str(secrets.randbelow(10**10)) if status == SUCCESSFUL else ""

    def record(self) -> dict[str, object]:
        """As Campay tells it."""
        return {
            "reference": self.reference,
            "external_reference": self.external_reference,
            "status": self.status,
            "amount": float(self.amount),
            "currency": "XAF",
            "operator": self.operator,
            "code": self.code,
            "operator_reference": self.operator_reference,
            "description": self.description,
            "external_user": "",
            "reason": self.reason,
            "phone_number": self.phone,
        }

    def entry(self) -> dict[str, object]:
        """As Campay's history tells it."""
        return {
            "datetime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.made_at)),
            "code": self.code,
            "operator_tx_code": self.operator_reference,
            "operator": self.operator,
            "phone_number": self.phone,
            "description": self.description,
            "external_user": "",
            "amount": f"{self.amount}.00",
            "currency": "XAF",
            "reference_uuid": self.reference,
            "external_reference": self.external_reference,
            "status": self.status,
        }


class Ledger:
    """By reference. `journal` None: nothing is kept. Raises: LocalFile."""

    def __init__(self, journal: Path | None) -> None:
        self.transactions: dict[str, Transaction] = {}
        self._journal = journal
        if journal is None:
            return
        try:
            journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            journal.touch(mode=0o600)
            self._read(journal)
        except OSError as error:
            raise LocalFile(path=journal, reason=error.strerror or error) from error

    def put(self, transaction: Transaction) -> None:
        self.transactions[transaction.reference] = transaction
        if self._journal is not None:
            with self._journal.open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(asdict(transaction)) + "\n")

    def _read(self, journal: Path) -> None:
        text = journal.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            try:
                transaction = Transaction(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the last words of a sandbox that was killed
            self.transactions[transaction.reference] = transaction
        if text and not text.endswith("\n"):
            with journal.open("a", encoding="utf-8") as torn:
                torn.write("\n")
