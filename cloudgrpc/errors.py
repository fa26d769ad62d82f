"""Every error a user can meet: its code, gRPC status, exit code, words, and what to try.

A failure travels as a gRPC status with the words, and its code in trailing metadata; the client finds the class again
by that code. The statuses are named here, not imported, so that the command line starts without gRPC.
"""

from __future__ import annotations

from enum import StrEnum
from string import Formatter
from typing import ClassVar


class Status(StrEnum):
    """The gRPC statuses in use, by gRPC's own names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"


class Exit:
    """Exit codes of every role."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3  # no failure, but what a health report found, as the next
    LOST = 4
    UNAVAILABLE = 10
    NOT_SIGNED_IN = 11
    NOT_FOUND = 12
    EXISTS = 13
    BAD_INPUT = 14
    NOT_NOW = 15
    CONFLICT = 16
    TOO_SLOW = 17
    DATA_LOSS = 18
    NOT_ALLOWED = 19
    LIMIT = 20
    INTERRUPTED = 130


class CloudError(Exception):
    """A failure with words for people. Facts given to the constructor fill the words."""

    code: ClassVar[str]
    status: ClassVar[Status]
    exit_code: ClassVar[int]
    words: ClassVar[str]
    hint: ClassVar[str]

    def __init__(self, **facts: object) -> None:
        super().__init__(self.words.format(**facts))
        self.facts = facts

    @property
    def advice(self) -> str:
        """The hint. Facts that stayed with the process that told the error appear as words to fill in."""
        fields = {name for _, name, _, _ in Formatter().parse(self.hint) if name}
        return self.hint.format(**{name: self.facts.get(name, name.upper()) for name in fields})

    @classmethod
    def told(cls, message: str) -> CloudError:
        """The same error as another process told it, with that process's words."""
        error = cls.__new__(cls)
        Exception.__init__(error, message)
        error.facts = {}
        return error


class BadInput(CloudError):
    exit_code = Exit.BAD_INPUT
    status = Status.INVALID_ARGUMENT


class InvalidField(BadInput):
    code = "invalid_field"
    words = "{field}: {reason}."
    hint = "Correct it and try again."


class UploadSizeWrong(BadInput):
    code = "upload_size_wrong"
    words = "file_size said {announced} bytes, but {received} came; nothing was kept."
    hint = "Upload the file again; do not change it meanwhile."


class PartSizeWrong(BadInput):
    code = "part_size_wrong"
    words = "The chunks that were announced have {announced} bytes, but {received} came."
    hint = "What came as whole chunks is kept: ask how far the upload is, and go on from there."


class RequestIdReused(BadInput):
    code = "request_id_reused"
    words = "request_id was already used for something else."
    hint = "Use a fresh request_id for every new upload or payment."


class ChunkRefused(BadInput):
    code = "chunk_refused"
    words = "The bytes of chunk {chunk_id} do not match their checksum; nothing was stored."
    hint = "Send the chunk again."


class TooDeep(BadInput):
    code = "too_deep"
    words = "{name} would lie {depth} folders deep; at most {most} are allowed."
    hint = "Put it further up."


class PathTooLong(BadInput):
    code = "path_too_long"
    words = "The path of {name} would have {length} bytes; at most {most} are allowed."
    hint = "Use shorter names, or put it further up."


class PhoneWrong(BadInput):
    code = "phone_wrong"
    words = "phone_number: {reason}."
    hint = "Write it as 237 and nine digits, such as 237670000001."


class OperatorWrong(BadInput):
    code = "operator_wrong"
    words = "{phone} is a number of {right}, not of {wrong}; nothing was charged."
    hint = "Choose the number's own operator, or give another number."


class AmountRefused(BadInput):
    code = "amount_refused"
    words = "Campay does not take this amount: {reason}; nothing was charged."
    hint = "Choose another tier, or tell the operator of this gateway."


class CodeWrong(BadInput):
    code = "code_wrong"
    words = "That is not the code that was sent; {left} attempts are left."
    hint = "Type the newest code; an older one no longer works."


class JoinCodeUnreadable(BadInput):
    code = "join_code_unreadable"
    words = "That is no join code: {reason}."
    hint = "Copy the whole line that was written by: cloudgrpc certs invite NODE_ID"


class Missing(CloudError):
    code = "not_found"
    status = Status.NOT_FOUND
    exit_code = Exit.NOT_FOUND
    words = "{what} does not exist."
    hint = "See what there is with: cloudgrpc shell ls"


class AccountUnknown(Missing):
    code = "account_unknown"
    words = "{email} is not enrolled."
    hint = 'Enroll first with: cloudgrpc shell enroll {email} "YOUR NAME"'


class UserUnknown(Missing):
    """For operators, who look for somebody else."""

    code = "user_unknown"
    words = "There is no account {user}."
    hint = "Look for it by a part of the address or the name: cloudgrpc admin --users --search TEXT"


class NotInTrash(Missing):
    code = "not_in_trash"
    words = "Nothing called {name} is in the trash."
    hint = "See what is in it with: cloudgrpc shell trash"


class FolderUnknown(Missing):
    code = "folder_unknown"
    words = "{path} is {reason}."
    hint = "Make the folder with: cloudgrpc shell mkdir -p {folder}"


class VersionUnknown(Missing):
    code = "version_unknown"
    words = "Version {version} of {name} does not exist."
    hint = "See which versions there are with: cloudgrpc shell versions PATH"


class UploadUnknown(Missing):
    code = "upload_unknown"
    words = "Upload {upload_id} does not exist."
    hint = "See your unfinished uploads with: cloudgrpc shell uploads"


class ShareUnknown(Missing):
    code = "share_unknown"
    words = "{what} does not exist."
    hint = "See what you share with: cloudgrpc shell shares   what others share with you with: cloudgrpc shell shared"


class SessionUnknown(Missing):
    code = "session_unknown"
    words = "There is no session {session_id} of yours."
    hint = "See your sessions with: cloudgrpc shell sessions"


class TierUnknown(Missing):
    code = "tier_unknown"
    words = "There is no tier {tier_id}; there are {tiers}."
    hint = "See what can be bought with: cloudgrpc pay tiers"


class PaymentUnknown(Missing):
    code = "payment_unknown"
    words = "The payment does not exist."
    hint = "See what there is with: cloudgrpc pay history (yours), or cloudgrpc admin --payments (everybody's)"


class ChunkMissing(Missing):
    code = "chunk_missing"
    words = "Chunk {chunk_id} is not here."
    hint = "The gateway makes missing copies again from the others."


class NodeUnknown(Missing):
    code = "node_unknown"
    words = "Node {node_id} is not registered."
    hint = "A node registers by itself once it runs; see those there are with: cloudgrpc admin --nodes"


class SecretUnknown(Missing):
    code = "secret_unknown"
    words = "There is no secret {fingerprint} here; there are: {known}."
    hint = "See which secrets there are with: cloudgrpc secrets list"


class AuthorityUnknown(Missing):
    code = "authority_unknown"
    words = "There is no authority {authority_id} here."
    hint = "See those there are with: cloudgrpc certs ca list"


class CertificateUnknown(Missing):
    code = "certificate_unknown"
    words = "Node {node_id} has no certificate that is good, and no code to join waits for it."
    hint = "See those there are with: cloudgrpc certs list"


class AdminKeyUnknown(Missing):
    code = "admin_key_unknown"
    words = "There is no admin key named {name}."
    hint = "See them with: cloudgrpc admin key list"


class Exists(CloudError):
    status = Status.ALREADY_EXISTS
    exit_code = Exit.EXISTS


class NameTaken(Exists):
    code = "name_taken"
    words = "{name} exists already."
    hint = "Choose another name."


class AlreadyEnrolled(Exists):
    code = "already_enrolled"
    words = "{email} is enrolled already."
    hint = "Sign in with: cloudgrpc shell login {email}"


class ReferenceTaken(Exists):
    code = "reference_taken"
    words = "Campay's reference {reference} belongs to another payment."
    hint = "Look the right reference up in Campay's own list of transactions."


class AdminKeyTaken(Exists):
    code = "admin_key_taken"
    words = "There is, or was, an admin key named {name}; events name it."
    hint = "Choose another name."


class NodeIdTaken(Exists):
    code = "node_id_taken"
    words = "Node id {node_id} belongs to another folder, whose node is online."
    hint = "Choose another id, or stop the other node first."


class Limit(CloudError):
    status = Status.RESOURCE_EXHAUSTED
    exit_code = Exit.LIMIT


class QuotaExceeded(Limit):
    code = "quota_exceeded"
    words = "{name} needs {needed}, but only {left} of {quota} are left."
    hint = (
        "See what uses it with: cloudgrpc shell storage; free room with trash empty, uploads drop or rm --permanent, "
        "or buy more with: cloudgrpc pay buy"
    )


class CopyTooLarge(Limit):
    code = "copy_too_large"
    words = "{name} holds more than {most} files and folders, too many for one copy."
    hint = "Copy it in parts."


class PoolPromised(Limit):
    code = "pool_promised"
    words = "The storage pool has no room for another {needed}: {promised} of {limit} are promised."
    hint = "Ask the operator to add a storage node."


class SoldOut(Limit):
    code = "sold_out"
    words = "{needed} more cannot be sold now: {promised} of {limit} are promised already; nothing was charged."
    hint = "Choose a smaller tier, or try again later; the operators of this gateway were told."


class PoolFull(Limit):
    code = "pool_full"
    words = "The storage nodes are full: {candidates} of the {quorum} needed can take another chunk."
    hint = "Ask the operator to add a storage node; deleting for good makes room too."


class DiskFull(Limit):
    code = "disk_full"
    words = "Node {node_id} is full or read-only."
    hint = "Add a node, or give this one more room."


class ListTooLong(Limit):
    code = "list_too_long"
    words = "The list does not fit one reply of 4 MiB."
    hint = "Ask for it in pages with page_size."


class TooMany(Limit):
    """Too often; `seconds` travel in trailing metadata too."""

    hint = "Wait, then try again."


class TooManyCodes(TooMany):
    code = "too_many_codes"
    words = "Too many codes were asked for; the next can be sent in {seconds} s."
    hint = "Type the newest code you have, or wait."


class TooManyTries(TooMany):
    code = "too_many_tries"
    words = "Too many codes were tried; the next try is in {seconds} s."


class TooManyCertificates(TooMany):
    code = "too_many_certificates"
    words = "{node_id} has asked for too many certificates; it gets the next in {seconds} s."
    hint = "Is it still your machine that asks? If not: cloudgrpc certs revoke NODE_ID"


class TooManyPayments(TooMany):
    code = "too_many_payments"
    words = "Too many payments were begun; the next can be begun in {seconds} s."
    hint = "Wait; payments under way go on meanwhile."


class TooManyCalls(TooMany):
    code = "too_many_calls"
    words = "Too many calls in a short time; go on in {seconds} s."


class TooManySlow(Limit):
    code = "too_many_slow"
    words = "Too many uploads that are slow are under way at once."
    hint = "Upload fewer files at once, or try again later."


class TooManyFollowers(Limit):
    code = "too_many_followers"
    words = "{most} already follow the events at this gateway; more cannot at once."
    hint = "End one of them, or look once with: cloudgrpc admin --events"


class NotNow(CloudError):
    status = Status.FAILED_PRECONDITION
    exit_code = Exit.NOT_NOW


class CodeSpent(NotNow):
    code = "code_spent"
    words = "There is no valid code for {email}: it was used, expired, tried too often, or never sent."
    hint = "Ask for a new code."


class PaymentEnded(NotNow):
    code = "payment_ended"
    words = "The payment is {status}; there is nothing to cancel."
    hint = "See how it stands with: cloudgrpc pay status --payment-id ID"


class PaymentRefused(NotNow):
    """Campay, or the mobile operator behind it, said no before any money could move."""

    code = "payment_refused"
    words = "The payment was refused: {reason}; nothing was charged."
    hint = "Check the balance on your phone, or pay from another number."


class NotRefundable(NotNow):
    code = "not_refundable"
    words = "The payment is {status}; only a completed one can be marked as paid back."
    hint = "End one that never completed with: cloudgrpc admin payment close ID --reason TEXT"


class NotClosable(NotNow):
    code = "not_closable"
    words = "The payment is {status}; there is nothing to end."
    hint = "See how it stands with: cloudgrpc admin --payments"


class ReferenceWrong(NotNow):
    code = "reference_wrong"
    words = "Campay's transaction {reference} is not this payment's: {reason}; nothing was changed."
    hint = "Look the right reference up in Campay's own list of transactions."


class ReferenceKnown(NotNow):
    code = "reference_known"
    words = "The payment has a reference already, {reference}."
    hint = "Ask Campay how it stands with: cloudgrpc admin payment reconcile ID"


class AccountClosed(NotNow):
    code = "account_closed"
    words = "This account is closed; its files go on {closes_at}."
    hint = "Take that back with: cloudgrpc shell account reopen"


class SecretInUse(NotNow):
    code = "secret_in_use"
    words = "{fingerprint} cannot be removed: {reason}."
    hint = "See which secrets there are with: cloudgrpc secrets list"


class SecretsConfigured(NotNow):
    code = "secrets_configured"
    words = "{name} is given in [{section}] {key}, so there is no file to change."
    hint = "Change it there: the one in use as {key}, those that are still accepted in old_{key}s; then start again."


class SecretsThere(NotNow):
    code = "secrets_there"
    words = "{folder} holds secrets already: {names}; nothing was brought back."
    hint = "Move the folder away first if what is in it is not needed any more."


class SecretsBackupWrong(NotNow):
    code = "secrets_backup_wrong"
    words = "{path} is no whole backup of secrets: {reason}."
    hint = "Take another one; it is what was written by: cloudgrpc secrets backup FILE"


class AuthorityInUse(NotNow):
    code = "authority_in_use"
    words = "The authority {authority_id} signs the certificates, so it must be believed."
    hint = "Let another one sign first: cloudgrpc certs ca add, then: cloudgrpc certs ca use ID"


class AuthorityMissing(NotNow):
    code = "authority_missing"
    words = "This gateway has no authority that could sign certificates."
    hint = "Make one on the gateway's machine with: cloudgrpc certs init   then start the gateway again"


class PapersRefused(NotNow):
    code = "papers_refused"
    words = "The certificate that came for {name} is of no use: {reason}; nothing was changed."
    hint = "Ask again; if it stays so, see the gateway's log."


class JoinCodeElsewhere(NotNow):
    code = "join_code_elsewhere"
    words = "At {address} is not the gateway that the join code is of: {reason}; nothing was sent there."
    hint = "Ask its operator for a new code: cloudgrpc certs invite NODE_ID (--address names another place)"


class PapersExpired(NotNow):
    code = "papers_expired"
    words = "The certificate of {node_id} expired on {when}, so the gateway would not hear it."
    hint = "Ask an operator for a code: cloudgrpc certs invite NODE_ID   then start the node with --join -"


class NodeForeign(NotNow):
    code = "node_foreign"
    words = "Node {node_id} belongs to cluster {theirs}, this is cluster {ours}; nothing was touched."
    hint = "Point the node at its own gateway, or give it an empty folder."


class NodeRemoved(NotNow):
    code = "node_removed"
    words = "Node {node_id} was removed from the cluster by an operator, with this folder."
    hint = (
        "It can stay stopped. To have it join as a new, empty node, move its folder away and start it again; with"
        " certificates by a new code: cloudgrpc certs invite ID, then start it with --join."
    )


class NodeNotEmpty(NotNow):
    code = "node_not_empty"
    words = "Node {node_id} still holds {copies} copies of chunks."
    hint = "Empty it first with: cloudgrpc admin node drain {node_id}   or, if it is lost: admin node remove --lost"


class LastNode(NotNow):
    code = "last_node"
    words = "All other nodes are drained or gone: what {node_id} holds would have nowhere to go."
    hint = "Start another node first: cloudgrpc node ID PORT CAPACITY_GB   or take a drain back: admin node undrain"


class NodeNotOffline(NotNow):
    code = "node_not_offline"
    words = "Node {node_id} is online, so it is not lost."
    hint = "Empty it with: cloudgrpc admin node drain {node_id}   or stop it first"


class GatewayNotEmpty(NotNow):
    code = "gateway_not_empty"
    words = "This gateway has {what}; a backup is restored only on an empty one, and nothing was changed."
    hint = "Restore on a gateway with an empty folder or database. If that was done here: cloudgrpc admin reconcile"


class BackupUnreadable(NotNow):
    code = "backup_unreadable"
    words = "The backup cannot be used: {reason}; nothing was changed."
    hint = "Take another file; a whole one ends with its own checksum."


class NotRestored(NotNow):
    code = "not_restored"
    words = "This gateway was not restored from a backup, so there is nothing to reconcile."
    hint = "To compare metadata and nodes, use: cloudgrpc admin check"


class NotReconciled(NotNow):
    code = "not_reconciled"
    words = "The gateway stays read-only: {waiting}."
    hint = "Wait for it, or start what is missing; what never comes: cloudgrpc admin reconcile --open --force"


class FolderForeign(NotNow):
    code = "folder_foreign"
    words = "{folder} belongs to {owner}; nothing was touched."
    hint = "Use another --data-dir, or the node id the folder belongs to."


class FolderInUse(NotNow):
    code = "folder_in_use"
    words = "{folder} is in use by another process."
    hint = "Stop the other process first; one folder serves one process."


class DatabaseInUse(NotNow):
    code = "database_in_use"
    words = "{database} is in use by {user}; nothing was changed."
    hint = "Stop every gateway that uses it, then try again."


class DatabaseNotEmpty(NotNow):
    code = "database_not_empty"
    words = "{database} is not empty: it has {what}. Nothing was changed."
    hint = "Name an empty database; one for trials can be emptied with: cloudgrpc admin reset-database"


class DatabaseUnfit(NotNow):
    code = "database_unfit"
    words = "{database} cannot be used for this: {reason}. Nothing was changed."
    hint = "Mend that, or name another database."


class DatabasePrecious(NotNow):
    code = "database_precious"
    words = "{database} looks like one that people use: {reason}. Nothing was changed."
    hint = "If all of it is really to go, add --force."


class CopyUnfinished(NotNow):
    code = "copy_unfinished"
    words = (
        "This database is being filled by cloudgrpc admin migrate-database, or that was broken off; not all is here."
    )
    hint = "Wait for it, or run the same command again: it goes on where it was."


class RowNotCopied(NotNow):
    code = "row_not_copied"
    words = "Table {table}, row {key} cannot be copied: {reason}."
    hint = "The gateway works on with SQLite as before. Mend the row, then run the same command again."


class MasterKeyMissing(NotNow):
    code = "master_key_missing"
    words = "The master key {key_id} is not here, and without it files that are stored cannot be read."
    hint = (
        "Bring it back: cloudgrpc secrets add master --from FILE; or put the secrets that were saved with cloudgrpc"
        " secrets backup into the data folder again."
    )


class MasterKeyElsewhere(NotNow):
    code = "master_key_elsewhere"
    words = "The gateways of this database seal files with the master key {key_id}, which is not here."
    hint = (
        "Bring the secrets of a gateway that runs: there cloudgrpc secrets backup FILE; here move the folder secrets"
        " away if there is one, then cloudgrpc secrets restore FILE."
    )


class SchemaNewer(NotNow):
    code = "schema_newer"
    words = "The database was made by a newer version (schema steps {steps} are unknown here); nothing was touched."
    hint = "Start the newer version of CloudGrpc."


class PlaintextRefused(NotNow):
    code = "plaintext_refused"
    words = "Listening on {host} without TLS would show files and codes to the network."
    hint = (
        "Make certificates: cloudgrpc certs init on the gateway's machine, and join nodes with --join; or, on a network"
        " you trust, set allow_plaintext = true under [cluster]."
    )


class PlaintextCall(NotNow):
    code = "plaintext_call"
    words = "{address} is another machine: codes, files and keys would cross the network in plaintext."
    hint = (
        "Name the certificate of its authority with --ca FILE (the operator has it: cloudgrpc certs ca show), or use"
        " --tls when it is by a public one; or, on a network you trust, set allow_plaintext = true under [cluster]."
    )


class HttpInPlaintext(NotNow):
    code = "http_in_plaintext"
    words = "HTTP on {host} would cross the network in plaintext, which TLS for the rest does not change."
    hint = (
        "Let it listen on 127.0.0.1, behind a proxy that speaks TLS, or not at all; or, on a network you trust, set"
        " allow_plaintext = true under [cluster]."
    )


class Disagreed(NotNow):
    """The two ends of a connection did not come together."""


class TlsExpected(Disagreed):
    code = "tls_expected"
    words = "{address} speaks TLS only, and was asked in plaintext."
    hint = (
        "Name the certificate of its authority with --ca FILE (the operator has it: cloudgrpc certs ca show), or use"
        " --tls when it is by a public one. A node joins first: cloudgrpc node ID PORT CAPACITY_GB --join -"
    )


class PlaintextExpected(Disagreed):
    code = "plaintext_expected"
    words = "{address} does not speak TLS; nothing was sent there."
    hint = "If that is meant to be so: {way_out}"


class CertificateUntrusted(Disagreed):
    code = "certificate_untrusted"
    words = "The certificate of {address} is by no authority that is trusted here ({reason}); nothing was sent there."
    hint = (
        "Make sure it is the right machine, then name its authority with --ca FILE (the operator has it: cloudgrpc"
        " certs ca show); a node joins anew with --join."
    )


class CertificateExpired(Disagreed):
    code = "certificate_expired"
    words = "The certificate of {address} is out of date ({reason}); nothing was sent there."
    hint = "It renews itself while that process runs: start it again, and see its log; both clocks must be right."


class CertificateElsewhere(Disagreed):
    code = "certificate_elsewhere"
    words = "{address} shows a certificate for {names}, not for {wanted}; nothing was sent there."
    hint = "Use a name that is in it, or have the operator add yours: cloudgrpc certs init --name HOST"


class CertificateRefused(Disagreed):
    code = "certificate_refused"
    words = "{address} does not accept our certificate: {reason}."
    hint = "Its log says why. A node gets a new certificate with: cloudgrpc certs invite ID, then --join at the node."


class AddressUnusable(NotNow):
    code = "address_unusable"
    words = "Nothing can listen on {host} port {port}: {reason}."
    hint = "Choose an address of this machine and a port above 1023."


class PortInUse(NotNow):
    code = "port_in_use"
    words = "Port {port} on {host} is in use by another program."
    hint = "Choose another port with {flag}."


class FolderCycle(NotNow):
    code = "folder_cycle"
    words = "{name} cannot be moved or copied into itself."
    hint = "Choose a folder outside of it."


class FolderNotEmpty(NotNow):
    code = "folder_not_empty"
    words = "Folder {name} is not empty."
    hint = "Delete it with all it holds: cloudgrpc shell rm -r PATH"


class PlaceGone(NotNow):
    code = "place_gone"
    words = "The folder where {name} was does not exist any more."
    hint = "Restore it elsewhere with --to FOLDER, or to the root folder with --anyway."


class VersionNewest(NotNow):
    code = "version_newest"
    words = "Version {version} of {name} is its newest; only older ones can be deleted by themselves."
    hint = "Delete the file, or make another version the newest first."


class SyncClash(NotNow):
    code = "sync_clash"
    words = "Not everything was done: {count} left alone, since something else is in its place."
    hint = "Move that away and sync again; --delete replaces files and folders, but never links."


class UploadUnfinished(NotNow):
    code = "upload_unfinished"
    words = "{name} is not complete: {missing} of its {total} chunks are still to be sent."
    hint = "Send the missing chunks, then finish the upload."


class NotAllowed(CloudError):
    status = Status.PERMISSION_DENIED
    exit_code = Exit.NOT_ALLOWED


class AccountDisabled(NotAllowed):
    code = "account_disabled"
    words = "This account was disabled by an operator{why}."
    hint = "Ask whoever runs this drive."


class AdminRoleTooLow(NotAllowed):
    code = "admin_role_too_low"
    words = "The admin key {name} has the role {role}; this needs {needs}."
    hint = "Use a key that may, or ask whoever has the gateway's own."


class ReadOnlyShare(NotAllowed):
    code = "read_only_share"
    words = "{name} was shared with you to read, not to change."
    hint = "Ask its owner to share it with --write, or change a copy: cloudgrpc shell cp PATH /"


class OwnerOnly(NotAllowed):
    code = "owner_only"
    words = "Only the owner of {name} can do that."
    hint = "Ask its owner."


class OtherDrive(NotAllowed):
    code = "other_drive"
    words = "{name} lies in another person's drive; it can be copied there or from there, but not moved."
    hint = "Copy it: cloudgrpc shell cp"


class Conflict(CloudError):
    status = Status.ABORTED
    exit_code = Exit.CONFLICT


class VersionMoved(Conflict):
    code = "version_moved"
    words = "{name} is at version {version} now, not at {expected}; nothing was changed."
    hint = "Look at the newer content first: cloudgrpc shell versions PATH"


class PriceChanged(Conflict):
    code = "price_changed"
    words = "{now} XAF would be charged now, not {expected} XAF; nothing was charged."
    hint = "See the new prices with: cloudgrpc pay tiers"


class QuotaMoved(Conflict):
    code = "quota_moved"
    words = "The quota of {user} is {now} by now, not {expected}; nothing was changed."
    hint = "Look at it again, then give the command again."


class UploadEnded(Conflict):
    code = "upload_ended"
    words = "This upload has ended: its time ran out, or a newer try took its place."
    hint = "Upload the file again."


class UploadBusy(Conflict):
    code = "upload_busy"
    words = "This upload was being sent and finished at once; nothing was lost."
    hint = "Finish it again, once all of it is sent."


class TooSlow(CloudError):
    status = Status.DEADLINE_EXCEEDED
    exit_code = Exit.TOO_SLOW


class PeerSilent(TooSlow):
    code = "peer_silent"
    words = "Nothing moved on this transfer for {seconds:g} seconds; it was ended."
    hint = "Check the connection and start the transfer again."


class CallTooSlow(TooSlow):
    code = "call_too_slow"
    words = "{peer} did not answer in time."
    hint = "Try again in a moment."


class PaymentPending(TooSlow):
    code = "payment_pending"
    words = "Payment {short} is not confirmed yet; once it is, the room is added by itself."
    hint = "Look later with: cloudgrpc pay status --payment-id {short}   or end it: cloudgrpc pay cancel"


class PaymentUnclear(TooSlow):
    code = "payment_unclear"
    words = "Whether the money of payment {short} moved is being found out; do not pay again."
    hint = "Look later with: cloudgrpc pay status --payment-id {short}"


class NotSignedIn(CloudError):
    status = Status.UNAUTHENTICATED
    exit_code = Exit.NOT_SIGNED_IN


class SessionEnded(NotSignedIn):
    code = "session_ended"
    words = "You are not signed in, or your session has ended."
    hint = "Sign in with: cloudgrpc shell login"


class ProofMissing(NotSignedIn):
    code = "proof_missing"
    words = "{email} was not proven to be yours: verify a code first."
    hint = "Ask for a code, verify it, and pass on the verification_token."


class AdminKeyWrong(NotSignedIn):
    code = "admin_key_wrong"
    words = "That is not the admin key of this gateway."
    hint = "The gateway says at its start where the key is kept; give it as ADMIN_KEY or in [admin] key_file."


class AdminKeyMissing(NotSignedIn):
    code = "admin_key_missing"
    words = "There is no admin key here: {place} does not exist."
    hint = "Give it as ADMIN_KEY, or in a file named by [admin] key_file; the gateway says where it keeps it."


class ClusterSecretWrong(NotSignedIn):
    code = "cluster_secret_wrong"
    words = "The caller does not hold this cluster's secret."
    hint = "Give gateway and nodes the same secret: [cluster] secret_file, or one data folder."


class IdentityWrong(NotSignedIn):
    code = "identity_wrong"
    words = "{method} needs the certificate of {needed}; what was shown is {shown}."
    hint = "Each machine shows its own certificate: a node that of its own id, from its own data folder."


class CertificateRevoked(NotSignedIn):
    code = "certificate_revoked"
    words = "The certificate of {name} (serial {serial}) was revoked."
    hint = "If it is to come back: cloudgrpc certs invite ID at the gateway, then start it with --join."


class CertificateOver(NotSignedIn):
    code = "certificate_over"
    words = "The certificate of {name} (serial {serial}) has expired."
    hint = "Its process renews it by itself: start it again, and see its log; both clocks must be right."


class HandshakeRefused(NotSignedIn):
    code = "handshake_refused"
    words = "A connection from {peer} to {place} did not come about: {reason}."
    hint = "If it was one of yours, it says on its own side what to do."


class JoinCodeUnknown(NotSignedIn):
    code = "join_code_unknown"
    words = "This cluster does not know that join code: it was taken back, or is of another cluster."
    hint = "Ask an operator for a new one: cloudgrpc certs invite NODE_ID"


class JoinCodeExpired(NotSignedIn):
    code = "join_code_expired"
    words = "The join code for {node_id} has expired; a code is good for 15 minutes."
    hint = "Ask an operator for a new one: cloudgrpc certs invite NODE_ID"


class JoinCodeUsed(NotSignedIn):
    """Perhaps stolen, perhaps only typed on two machines: an operator has to look."""

    code = "join_code_used"
    words = "The join code for {node_id} was used already, by another machine or with another key."
    hint = "If that was not you, shut it out: cloudgrpc certs revoke NODE_ID   then: cloudgrpc certs invite NODE_ID"


class JoinCodeForOther(NotSignedIn):
    code = "join_code_for_other"
    words = "The join code is for another node than {node_id}."
    hint = "Start the node by the name it was invited as, or ask for a code: cloudgrpc certs invite NODE_ID"


class SignInLeft(NotSignedIn):
    code = "sign_in_left"
    words = "You left before a code was accepted; nothing was changed."
    hint = "Start the command again when you have the code."


class Unavailable(CloudError):
    status = Status.UNAVAILABLE
    exit_code = Exit.UNAVAILABLE


class DriveRestored(Unavailable):
    code = "drive_restored"
    words = "The drive was restored from a backup and is read-only until an operator has checked it."
    hint = "Reading works; try again later. Operators: cloudgrpc admin reconcile"


class NodesTooFew(Unavailable):
    code = "nodes_too_few"
    words = "{online} of the {quorum} storage nodes needed are online; nothing was kept."
    hint = "Try again when the nodes are back, or ask the operator."


class QuorumMissed(Unavailable):
    code = "quorum_missed"
    words = "Only {stored} of the {quorum} copies needed could be stored; nothing was kept."
    hint = "Try again in a moment."


class NodeUnavailable(Unavailable):
    code = "node_unavailable"
    words = "Node {node_id} cannot be reached: {reason}."
    hint = "It is tried again by itself."


class CopiesUnreachable(Unavailable):
    code = "copies_unreachable"
    words = "{name} cannot be read now: the nodes that hold it are offline."
    hint = "Try again when the nodes are back; nothing is lost."


class MailFailed(Unavailable):
    code = "mail_failed"
    words = "The code could not be sent by mail to {email}."
    hint = (
        "Check the address and try again; if it stays so, tell the operator, who finds the reason in the gateway's log."
    )


class PaymentsOff(Unavailable):
    code = "payments_off"
    words = "Nothing can be bought here now: the gateway has no account at Campay."
    hint = "Ask the operators of this gateway to set up [campay]; all else works."


class MobileMoneyDown(Unavailable):
    code = "mobile_money_down"
    words = "Campay could not be asked: {reason}; nothing was charged."
    hint = "Try again in a few minutes."


class CampayDown(Unavailable):
    """Campay does not say how a payment stands; what is known of it is unchanged."""

    code = "campay_down"
    words = "Campay could not be asked how the payment stands: {reason}."
    hint = "Try again later; the gateway goes on asking by itself."


class PaymentLost(Unavailable):
    """The call that begins a payment had no answer, twice."""

    code = "payment_lost"
    words = "The gateway gave no answer; the payment may be under way all the same."
    hint = "Before you pay again, look with: cloudgrpc pay history"


class DiskFailed(Unavailable):
    code = "disk_failed"
    words = "The disk of node {node_id} failed: {reason}."
    hint = "See the node's log; replace the disk if it goes on."


class GatewayStopping(Unavailable):
    code = "gateway_stopping"
    words = "This gateway is being stopped."
    hint = "Go on at another one, or at this one once it is back."


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"
    words = "The database does not answer: {reason}."
    hint = "Try again in a moment; the operator finds more in the gateway's log."


class GatewayUnreachable(Unavailable):
    code = "gateway_unreachable"
    words = "No gateway answers at {address}."
    hint = "Start one with: cloudgrpc demo-cluster   or name yours with --gateway HOST:PORT"


class DataLost(CloudError):
    code = "data_lost"
    status = Status.DATA_LOSS
    exit_code = Exit.DATA_LOSS
    words = "{name} cannot be read: no good copy of one of its chunks exists."
    hint = "Ask the operator; a copy in a node's quarantine folder may be saved by hand."


class ChunkCorrupt(CloudError):
    code = "chunk_corrupt"
    status = Status.DATA_LOSS
    exit_code = Exit.DATA_LOSS
    words = "The copy of chunk {chunk_id} here is damaged."
    hint = "The gateway makes it again from another copy."


class KeyDamaged(CloudError):
    """A wrapped key or a sealed digest that does not open, though the key that it was made with is here."""

    code = "key_damaged"
    status = Status.DATA_LOSS
    exit_code = Exit.DATA_LOSS
    words = "The key of {what} does not open: the metadata was damaged or changed."
    hint = "Ask the operator: cloudgrpc admin check tells what is damaged, and a backup has the keys."


class ContentDiffers(CloudError):
    code = "content_differs"
    status = Status.DATA_LOSS
    exit_code = Exit.DATA_LOSS
    words = "{name} arrived with another checksum than it was stored with; nothing was kept."
    hint = "Download it again."


class RowDiffers(CloudError):
    code = "row_differs"
    status = Status.DATA_LOSS
    exit_code = Exit.DATA_LOSS
    words = "Table {table}, row {key}: {reason}. The copy is not whole, and no gateway starts on it."
    hint = "SQLite has everything as before. Begin anew with: cloudgrpc admin migrate-database --restart --to URL"


class UploadDiffers(CloudError):
    code = "upload_differs"
    status = Status.DATA_LOSS
    exit_code = Exit.DATA_LOSS
    words = "{name} reached the gateway with another checksum than it left with."
    hint = "Upload it again; that replaces the damaged content."


class NotOffered(CloudError):
    code = "not_offered"
    status = Status.UNIMPLEMENTED
    exit_code = Exit.FAILED
    words = "This gateway does not offer {method}."
    hint = "See what it offers in the README, or ask the operator to upgrade it."


class Internal(CloudError):
    code = "internal"
    status = Status.INTERNAL
    exit_code = Exit.FAILED
    words = "Something went wrong on the server (reference {reference})."
    hint = "Tell the operator the reference; the log has the rest."


class SettingsWrong(CloudError):
    """All faults of the configuration at once, one a line."""

    code = "settings_wrong"
    status = Status.FAILED_PRECONDITION
    exit_code = Exit.USAGE
    words = "{faults}"
    hint = "config.toml in the project's folder explains every key."


class UsageWrong(CloudError):
    code = "usage_wrong"
    status = Status.INVALID_ARGUMENT
    exit_code = Exit.USAGE
    words = "{reason}."
    hint = "See the right words with --help."


class SeveralInTrash(CloudError):
    code = "several_in_trash"
    status = Status.INVALID_ARGUMENT
    exit_code = Exit.USAGE
    words = "{count} things in the trash are called {name}, the newest first: {which}."
    hint = "Name the one that is meant by its ID."


class CommandUnknown(CloudError):
    code = "command_unknown"
    status = Status.INVALID_ARGUMENT
    exit_code = Exit.USAGE
    words = "There is no command {command}{guess}"
    hint = "See all commands with: cloudgrpc shell help"


class Unexpected(CloudError):
    """A fault of our own in a client; the servers' is Internal."""

    code = "unexpected"
    status = Status.INTERNAL
    exit_code = Exit.FAILED
    words = "Something unexpected happened: {fault}."
    hint = "Run it again with --log-level debug, and report what that says."


class LocalFile(CloudError):
    """A file or folder on this computer that cannot be read or written."""

    code = "local_file"
    status = Status.FAILED_PRECONDITION
    exit_code = Exit.NOT_NOW
    words = "{path}: {reason}."
    hint = "Check the path and its permissions."


class FileChanged(CloudError):
    code = "file_changed"
    status = Status.FAILED_PRECONDITION
    exit_code = Exit.NOT_NOW
    words = "{path} was changed while it was being read; nothing was kept."
    hint = "Upload it again when nothing writes to it."


class TransferStopped(CloudError):
    """Ctrl-C in the middle of what can go on later."""

    code = "transfer_stopped"
    status = Status.ABORTED
    exit_code = Exit.INTERRUPTED
    words = "Interrupted; {kept}."
    hint = "Go on with: cloudgrpc shell {command}"


class PaymentLeft(CloudError):
    """Ctrl-C while a payment waits to be confirmed. `which`: how the command names it, " --payment-id ID" or ""."""

    code = "payment_left"
    status = Status.ABORTED
    exit_code = Exit.INTERRUPTED
    words = "Interrupted; {how}."
    hint = "Look later with: cloudgrpc pay status{which}   or end it: cloudgrpc pay cancel"


class CareLeft(CloudError):
    """Ctrl-C while an operator waits for what the cluster does by itself."""

    code = "care_left"
    status = Status.ABORTED
    exit_code = Exit.INTERRUPTED
    words = "Interrupted; {what} goes on."
    hint = "See how far it is with: cloudgrpc admin --nodes"


class CopyLeft(CloudError):
    """Ctrl-C while a database is copied."""

    code = "copy_left"
    status = Status.ABORTED
    exit_code = Exit.INTERRUPTED
    words = "Interrupted. SQLite has everything as before; no gateway starts on the copy until it is whole."
    hint = "The same command goes on where it was."


class ChildFailed(CloudError):
    code = "child_failed"
    status = Status.UNAVAILABLE
    exit_code = Exit.FAILED
    words = "{obituary}"
    hint = "The cluster did not start; mend what its log says."


class SelfTestFailed(CloudError):
    code = "self_test_failed"
    status = Status.INTERNAL
    exit_code = Exit.FAILED
    words = "Self-test: {reason}."
    hint = "The logs are in the data folder printed above."


def _walk(base: type[CloudError]) -> list[type[CloudError]]:
    return [base, *(found for child in base.__subclasses__() for found in _walk(child))]


# Every error by its code; groups that only share a status carry no code of their own.
CATALOGUE: dict[str, type[CloudError]] = {error.code: error for error in _walk(CloudError) if "code" in vars(error)}
