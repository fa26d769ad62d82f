"""What an operator's roles are called with: admin, certs and secrets. Read at every start, it imports little."""

from __future__ import annotations

import argparse

from cloudgrpc.clients.flags import add_trust_flags


def add_admin(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    admin = roles.add_parser(
        "admin",
        parents=[common],
        help="what operators see and do",
        description="""What operators see and do, with the admin key: ADMIN_KEY, [admin] key or
key_file, else secrets/admin.key in the data folder, else it is asked for.

Without more words, at a terminal: a live dashboard. Once, or as a stream:
  --status      how the cluster stands; exit code 3 when copies are missing,
                4 when data is lost
  --users       everybody with an account
  --nodes       the storage nodes
  --user WHO    all about one account
  --payments    everybody's payments, what they add up to, and what waits
  --events      what happened
  --monitor     what happens, as it happens, until Ctrl-C

Acts; --help behind one shows its words. Each asks first, unless --yes is given:
  quota WHO SIZE                   give an account so much room
  user disable|enable WHO [--reason TEXT]
                                   shut an account out; its files stay
  node drain|undrain|remove ID     empty a node, or forget it (--lost: with
                                   what it holds)
  repair [--now]                   look for missing copies at once
  scrub [NODE]                     read every chunk, to find what went bad
  check                            compare metadata and nodes; changes nothing
  backup FILE                      the metadata of this moment, as a file
  restore FILE                     fill an empty gateway with a backup; it
                                   stays read-only until it is reconciled
  reconcile [--open] [--force]     after a restore: how far it is; take writes
  migrate-database --to URL        copy SQLite to PostgreSQL, while no gateway
                                   runs; every row is compared
  reset-database                   empty a development database
  key add NAME --role view|operate
                                   a further admin key, shown once
  key list, key revoke NAME        who has one; end it
  payment reconcile ID             ask Campay now how a payment stands
  payment reference ID REFERENCE   the reference that Campay knows it by
  payment refund ID --reason TEXT  it was paid back; takes the room back
  payment close ID --reason TEXT   nothing more is expected of it
""",
        epilog="""examples:
  cloudgrpc admin
  cloudgrpc admin --status --json
  cloudgrpc admin --events --since 12h --type node. --type copy.bad
  cloudgrpc admin --payments --status processing --user alice@example.org
  cloudgrpc admin node drain node3
  cloudgrpc admin payment refund 3f9c2a17 --reason "bought twice"
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    admin.add_argument("--gateway", metavar="HOST:PORT", help="the gateway to talk to (default: 127.0.0.1:50051)")
    add_trust_flags(admin)
    views = admin.add_argument_group("views")
    views.add_argument(
        "--status",
        metavar="S",
        nargs="?",
        const="",
        help="how the cluster stands; with --payments: only those that are pending, processing, completed, failed,"
        " cancelled or refunded",
    )
    views.add_argument("--users", action="store_true", help="everybody with an account")
    views.add_argument("--nodes", action="store_true", help="the storage nodes")
    views.add_argument(
        "--user",
        metavar="WHO",
        help="all about one account, by e-mail or id; with --payments, --events or --monitor: only its own",
    )
    views.add_argument("--payments", action="store_true", help="payments, the newest first")
    views.add_argument("--events", action="store_true", help="what happened, the newest last")
    views.add_argument("--monitor", action="store_true", help="what happens, as it happens")
    which = admin.add_argument_group("what they show")
    which.add_argument("--search", metavar="TEXT", help="of --users: in the address or the name")
    which.add_argument(
        "--since",
        metavar="T",
        help="that time or later: 2026-12-31, '2026-12-31 18:00', 30m, 12h, 7d or 4w; for events also an event's ID:"
        " those after it",
    )
    which.add_argument("--until", metavar="T", help="payments begun before; a day is meant to its end")
    which.add_argument("--attention", action="store_true", help="only payments that wait for an operator, with why")
    which.add_argument(
        "--type",
        metavar="T",
        action="append",
        help="only events of this type, such as node.offline, or 'node.' for all that begin so; may be repeated",
    )
    which.add_argument(
        "-n", "--lines", metavar="N", type=int, help="so many payments (default: 20) or events (50); 0: all"
    )
    which.add_argument("--json", action="store_true", help="print as JSON, for programs; --monitor: one a line")
    admin.add_argument(
        "words", metavar="ACT …", nargs=argparse.REMAINDER, help="see above; --help behind it shows its words"
    )


def add_certs(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    certs = roles.add_parser(
        "certs",
        parents=[common],
        help="certificates: TLS for people, and nodes that prove who they are",
        description="""The cluster's own certificates. With them gateway and nodes prove to each other who
they are, and all speak TLS.

On the gateway's machine:
  init [--name HOST …]        make the authority and the gateway's certificate
  ca show                     the authority's file, which people give as --ca
  ca list|add|use|remove      exchange the authority while all runs on

By the gateway, with the admin key:
  invite NODE_ID              a code by which one machine may join as the node
  revoke NODE_ID              refuse a node from now on
  list                        who has which certificate, and until when
""",
        epilog="""examples:
  cloudgrpc certs init --name drive.example.org
  cloudgrpc certs invite node4
      then there: cloudgrpc node node4 9004 5 --host 192.0.2.14 --join -
  cloudgrpc certs ca show > ca.crt
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    certs.add_argument("--gateway", metavar="HOST:PORT", help="the gateway to talk to (default: 127.0.0.1:50051)")
    add_trust_flags(certs)
    certs.add_argument("words", metavar="ACT …", nargs=argparse.REMAINDER)


def add_secrets(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    secrets = roles.add_parser(
        "secrets",
        parents=[common],
        help="the secrets of this machine: list, rotate, save them",
        description="""The secrets of this machine's data folder: those that gateway and nodes know each
other by (cluster), that stored files are sealed with (master), and two more.

  list                        which there are, and where; never a secret
  backup FILE                 save them all, to be kept elsewhere; without the
                              master key no stored file can ever be read
  restore FILE                bring them back into a data folder without any

Change one while all runs on; each step tells the next, --help its words:
  add cluster|master          accept a further one, beside the one in use
  use cluster|master FINGERPRINT
                              make it the one in use
  remove cluster|master FINGERPRINT
                              accept one no longer
""",
        epilog="""examples:
  cloudgrpc secrets list
  cloudgrpc secrets --data-dir /srv/drive backup /media/stick/drive-secrets.tar
  cloudgrpc secrets add cluster
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    secrets.add_argument(
        "--gateway", metavar="HOST:PORT", help="asked whether an old master key is still needed (127.0.0.1:50051)"
    )
    add_trust_flags(secrets)
    secrets.add_argument("words", metavar="ACT …", nargs=argparse.REMAINDER)


def on_database_parser(act: str, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Of the acts that work on the database itself, where no gateway runs on it."""
    parser = argparse.ArgumentParser(
        prog=f"cloudgrpc admin {act}", parents=[common], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if act == "migrate-database":
        parser.description = """Copy the SQLite database of this data folder to PostgreSQL, with all that is in
it, and compare every row. The gateway is stopped meanwhile. Nothing is taken
from SQLite, and until all is copied no gateway starts on the copy. Broken off,
the same command goes on where it was.

A password in the URL can be seen by everybody on this machine. Better:
DB_PASSWORD, [database] password or password_file, PGPASSWORD, or ~/.pgpass.
A Unix socket: postgresql://USER@/NAME?host=/run/postgresql"""
        parser.epilog = """examples:
  cloudgrpc admin migrate-database --to postgresql://cloudgrpc@db.example.org/cloudgrpc
  cloudgrpc admin migrate-database --data-dir /srv/drive --yes"""
        parser.add_argument(
            "--to", metavar="URL", help="postgresql://USER@HOST:PORT/NAME (default: what [database] names)"
        )
        parser.add_argument("--restart", action="store_true", help="begin anew what was broken off")
    else:
        parser.description = """Empty the database that is configured, for development: accounts, files,
payments, everything. The gateways on it are stopped meanwhile. It is not there
to be taken back. What nodes keep in their folders stays there."""
        parser.epilog = """examples:
  cloudgrpc admin reset-database
  DB_HOST=localhost cloudgrpc admin reset-database --yes"""
        parser.add_argument("--force", action="store_true", help="also when it looks like one that people use")
    parser.add_argument("--yes", action="store_true", help="ask nothing; a script needs it")
    return parser
