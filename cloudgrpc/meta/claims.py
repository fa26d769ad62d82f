"""Which keys the cluster's gateways share: the first gateway's are kept here by their ids, and others must have them.

Two gateways that each made a master key of their own would seal files that the other can never read.
"""

from __future__ import annotations

from peewee import fn

from cloudgrpc.core.rotation import FINGERPRINT_DIGITS
from cloudgrpc.errors import MasterKeyElsewhere, MasterKeyMissing
from cloudgrpc.meta.db import is_postgres, now, rows
from cloudgrpc.meta.models import Account, Cluster, Lease
from cloudgrpc.meta.nodes import take_lease

BEGINNING_US = 60_000_000  # until a gateway that begins leads something, and is seen by that


def needed_master_keys() -> frozenset[str]:
    """The ids of those that account keys are wrapped by. Reads all accounts."""
    query = Account.select(fn.SUBSTR(Account.wrapped_key, 1, FINGERPRINT_DIGITS)).where(Account.wrapped_key != "")
    return frozenset(key_id for (key_id,) in rows(query.distinct()))


def check_master_keys(ids: frozenset[str]) -> None:
    """Raises: MasterKeyMissing when an account's key is wrapped by one that this process does not have."""
    for key_id in sorted(needed_master_keys() - ids):
        raise MasterKeyMissing(key_id=key_id)


def check_master_claim(ids: frozenset[str], *, is_beginning: bool) -> str:
    """Whether a process with these master keys may seal; returns the id of the one that the cluster had until now, ""
    when it had none. `is_beginning`: it does no work yet, so that whoever leads is another one.

    Raises: MasterKeyElsewhere when another gateway has begun with one that is not here; MasterKeyMissing.
    """
    found = Cluster.get_or_none()
    claimed = str(found.master_key_id) if found else ""
    if not claimed or claimed in ids:
        return claimed
    needed = needed_master_keys()
    check_master_keys(ids)
    # Where all that is sealed opens here, it was changed long ago. Where nothing is, it may be anyone's, unless the one
    # who began with it still runs. With SQLite no other gateway can.
    others_may_run = is_postgres() and (not is_beginning or _somebody_leads())
    if not needed and others_may_run:
        raise MasterKeyElsewhere(key_id=claimed)
    return claimed


def claim_master_key(ids: frozenset[str], current: str, *, is_beginning: bool) -> None:
    """Make the current one the cluster's, unless it has one that is here. Of two gateways that begin at once with a key
    each, one is refused. `current`: "" for a process without any. Raises: as `check_master_claim`."""
    claimed = check_master_claim(ids, is_beginning=is_beginning)
    if not current or claimed in ids:
        return
    mine = Cluster.update(master_key_id=current).where(Cluster.master_key_id == claimed).execute()
    if mine:
        take_lease("beginning", current, BEGINNING_US)
    elif Cluster.select().exists():  # another one was faster, and is seen now
        check_master_claim(ids, is_beginning=False)


def follow_master_key(ids: frozenset[str], current: str) -> None:
    """All that is sealed opens with this one now: the others may forget the one before. `ids`: of all that were ever
    here; when the cluster's is not, another gateway has begun with that, while this one slept."""
    known = Cluster.master_key_id.in_(["", *sorted(ids - {current})])
    Cluster.update(master_key_id=current).where(known).execute()


def note_digest_key(key_id: str) -> bool:
    """With which key this gateway digests codes and session tokens from now on; False when it was another one until
    now: what was digested with that is void here, and the other way round."""
    before = Cluster.select(Cluster.digest_key_id).scalar() or key_id
    Cluster.update(digest_key_id=key_id).where(Cluster.digest_key_id != key_id).execute()
    return bool(before == key_id)


def _somebody_leads() -> bool:
    return Lease.select().where(Lease.until_at > now()).exists()
