"""The tables about money, which outlive the accounts they are of; all other tables are in `models`.

payment ── storage grant
"""

from __future__ import annotations

from peewee import BigIntegerField, BooleanField, ForeignKeyField, IntegerField, TextField

from cloudgrpc.meta.models import Table


class Payment(Table):
    """Money for room. Its id is what Campay knows as our external reference; see core.payment_states."""

    payment_id = TextField(primary_key=True)
    account_id = TextField()
    email = TextField()  # of the account then
    tier_id = TextField()  # what was sold stays as it was, whatever becomes of the tier
    tier_name = TextField()
    storage_bytes = BigIntegerField()
    price_xaf = BigIntegerField()
    amount_xaf = BigIntegerField()  # what is charged: less than the price in demo mode
    mode = TextField()  # of the account at Campay: sales.Campay.mode
    provider = TextField()
    phone = TextField()  # masked: whole it goes to Campay alone
    request_id = TextField(null=True)  # the client's; unique per account
    state = TextField()  # payment_states.State; one per account, tier and mode is open
    reference = TextField(null=True, unique=True)  # Campay's; set once, by its answer or by what its record showed
    ussd_code = TextField(default="")
    is_unclear = BooleanField(default=False)  # Campay may have been asked to collect, and did not say
    reason = TextField(default="")  # why it failed or is unclear, for the buyer
    attention = TextField(default="")  # why it waits for an operator
    looks = IntegerField(default=0)
    look_at = BigIntegerField(null=True)  # when upkeep asks Campay next; null: no more
    created_at = BigIntegerField()
    completed_at = BigIntegerField(null=True)
    refunded_at = BigIntegerField(null=True)
    refund_reason = TextField(default="")

    class Meta:
        # That one per account and tier is open is in the migration, since peewee writes no partial index here.
        indexes = ((("account_id", "request_id"), True), (("account_id", "created_at", "payment_id"), False))


class StorageGrant(Table):
    """Room that a payment brought: made in the transaction that completes the payment and raises the quota, once."""

    payment = ForeignKeyField(Payment, primary_key=True, on_delete="RESTRICT")
    account_id = TextField()
    storage_bytes = BigIntegerField()
    granted_at = BigIntegerField()
    taken_back_at = BigIntegerField(null=True)
