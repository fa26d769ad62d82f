"""The kinds of events: what operators filter by, each with what it tells. No event is of a kind that is not here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.errors import (
    CATALOGUE,
    AdminRoleTooLow,
    CloudError,
    CodeSpent,
    InvalidField,
    Limit,
    NotSignedIn,
    QuotaExceeded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_TYPES = 100  # in one request
REFUSAL = "refused."  # the error's code follows
REFUSALS = (NotSignedIn, Limit, CodeSpent, AdminRoleTooLow)

KINDS = {
    "account.enrolled": "somebody enrolled",
    "account.renamed": "a person changed the name of the account",
    "account.closed": "a person closed the account; its files go after a time",
    "account.reopened": "a person took the closing back",
    "account.removed": "a closed account's time was over: it is gone",
    "admin_key.added": "an admin key was made",
    "admin_key.revoked": "an admin key was ended",
    "backup.made": "an operator took a backup of the metadata",
    "authority.ending": "the cluster's authority nears its end, and is to be exchanged",
    "certificate.found": "a node showed a certificate that was on no list, as after a backup was restored; it is now",
    "certificate.issued": "the cluster's authority signed a certificate for a node",
    "certificate.revoked": "an operator shut out a node's certificates",
    "certificate.unrenewed": "a certificate nears its end and was not renewed",
    "chunks.collected": "chunks that no file needs were deleted from a node",
    "cluster.reconciled": "after a restore, the gateway was opened for writing",
    "cluster.restored": "an operator filled the gateway with a backup",
    "code.made": "a sign-in code was made",
    "code.undelivered": "a sign-in code could not be delivered",
    "code.verified": "an address was verified by its code",
    "code.wrong": "a wrong sign-in code was typed",
    "collecting.resumed": "chunks that no file needs are deleted from a node again",
    "collecting.stopped": "too many files of a node are unknown: nothing is deleted there",
    "copies.given_up": "copies that were more than wanted are deleted from a node",
    "copy.bad": "a copy of a chunk is missing or damaged, and is made again",
    "copy.made": "a copy of a chunk was made",
    "entry.copied": "a file or folder was copied",
    "entry.moved": "a file or folder was moved or renamed",
    "entry.purged": "a file or folder was deleted for good",
    "entry.restored": "a file or folder was taken out of the trash",
    "entry.trashed": "a file or folder was moved to the trash",
    "file.uploaded": "a file, or its next version, was uploaded",
    "folder.made": "a folder was made",
    "master_key.rewrapped": "the keys of accounts were wrapped anew with the current master key",
    "node.drained": "a node on its way out holds nothing any more",
    "node.draining": "an operator began to empty a node",
    "node.invited": "an operator made a code by which a machine may join as a node",
    "node.joined": "a new node registered",
    "node.offline": "nothing was heard of a node for too long",
    "node.read_only": "a node takes no new chunks: its disk is full or failing",
    "node.removed": "an operator removed a node",
    "node.replaced": "a node came with another folder: its copies count as lost",
    "node.returned": "a node is back",
    "node.undrained": "an operator took the emptying of a node back",
    "node.writable": "a node takes chunks again",
    "node.zone": "a node changed its zone",
    "payment.attention": "a payment waits for an operator",
    "payment.begun": "somebody began to buy",
    "payment.cancelled": "a buyer cancelled a payment",
    "payment.closed": "an operator ended a payment",
    "payment.completed": "a payment came in, and its room was added",
    "payment.failed": "a payment failed",
    "payment.processing": "a payment waits for the buyer's confirmation",
    "payment.reconciled": "an operator had Campay asked about a payment",
    "payment.referenced": "Campay's reference of a payment became known",
    "payment.refunded": "an operator recorded that a payment was paid back",
    "payment.unclear": "Campay did not say whether it began to collect",
    "payment.unknown": "after a restore, Campay told of a payment that is unknown here",
    "payments.compared": "after a restore, all that Campay tells since the backup was compared",
    "quota.changed": "an operator gave an account more or less room",
    "repair.asked": "an operator had missing copies looked for at once",
    "scrub.asked": "an operator had the chunks of a node read",
    "scrub.done": "all chunks of a node were read",
    "sealing.begun": "what was stored before it was encrypted is encrypted in the background",
    "sealing.done": "all that is stored is encrypted",
    "session.ended": "a person signed out, or ended a session",
    "session.expired": "a session ran out",
    "session.started": "a person signed in",
    "share.changed": "a share was changed",
    "share.ended": "a share ended",
    "share.made": "a file or folder was shared",
    "trash.emptied": "a person emptied the trash",
    "trash.ended": "what lay in the trash too long was deleted for good",
    "upload.abandoned": "an upload did not come to its end",
    "user.disabled": "an operator shut an account out",
    "user.enabled": "an operator let an account in again",
    "version.deleted": "a person deleted an older version of a file",
    "version.restored": "an older version of a file became its newest",
    "versions.ended": "older versions of a file ended by the rule that limits them",
}


def is_recorded(error: CloudError | type[CloudError]) -> bool:
    """Whether a refusal becomes an event: of who may not, and of who does something too often."""
    kind = error if isinstance(error, type) else type(error)
    return issubclass(kind, REFUSALS) and not issubclass(kind, QuotaExceeded)


KINDS |= {f"{REFUSAL}{code}": f"a call was refused: {code}" for code, kind in CATALOGUE.items() if is_recorded(kind)}


def kinds_of(types: Iterable[str]) -> frozenset[str]:
    """All kinds that are meant: each type is one, or the beginning of some when it ends with a dot.

    Raises: InvalidField.
    """
    meant = set[str]()
    for count, told in enumerate(types, 1):
        found = {kind for kind in KINDS if kind == told or (told.endswith(".") and kind.startswith(told))}
        if count > MOST_TYPES:
            raise InvalidField(field="types", reason=f"must not be more than {MOST_TYPES}")
        if not found:
            raise InvalidField(field="types", reason=f"there is no kind of event {told[:100]!r}")
        meant |= found
    return frozenset(meant)
