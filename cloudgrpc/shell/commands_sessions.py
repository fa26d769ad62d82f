"""The shell's commands about being signed in: enroll, login, logout, sessions."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.errors import NotSignedIn, SessionUnknown, SignInLeft, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.actions import Actions, run_action
from cloudgrpc.shell.parser import Command, Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cloudgrpc.clients.session import Gateway, SessionStore
    from cloudgrpc.shell.sign_in import Entrance, Person

SHOWN_ID = 8  # enough to tell a person's sessions apart


def _enroll_parser() -> Parser:
    parser = Parser(
        "enroll",
        "Make an account. A code is sent to the e-mail address; type it to prove that the address is yours.",
        'enroll alice@example.org "Alice Ndi"',
    )
    parser.add_argument("email", metavar="EMAIL", help="your e-mail address")
    parser.add_argument("full_name", metavar="NAME", nargs="+", help="your name")
    return parser


def _login_parser() -> Parser:
    parser = Parser(
        "login",
        "Sign in with a code that is sent to your e-mail address. You stay signed in for 24 hours.",
        """
        login alice@example.org
        login                      the address that was last signed in here
        """,
    )
    parser.add_argument("email", metavar="EMAIL", nargs="?", help="your e-mail address")
    return parser


def _logout_parser() -> Parser:
    return Parser("logout", "End your session, here and at the gateway.", "logout")


class SessionCommands:
    def __init__(self, gateway: Gateway, store: SessionStore, entrance: Entrance, person: Person) -> None:
        self._gateway = gateway
        self._store = store
        self._entrance = entrance
        self._person = person

    def commands(self) -> list[Command]:
        return [
            Command("Make an account.", _enroll_parser(), self._enroll),
            Command("Sign in with a code sent by e-mail.", _login_parser(), self._login),
            Command("End your session.", _logout_parser(), self._logout),
            Command("List your sessions, or end them.", self._sessions_parser(), run_action),
        ]

    def _sessions_parser(self) -> Parser:
        parser = Parser(
            "sessions",
            "List where you are signed in, or end sessions: of a lost phone, say.",
            """
            sessions
            sessions --json
            sessions end 3f9c2a17
            sessions end --others
            """,
        )
        parser.add_argument("--json", action="store_true", help="list as JSON, with whole IDs")
        actions = Actions(parser, self._list)
        end = actions.add(
            "end", self._end, "End one session, or all but this.", "sessions end 3f9c2a17\nsessions end --others"
        )
        which = end.add_mutually_exclusive_group(required=True)
        which.add_argument("session_id", metavar="ID", nargs="?", help="a session's ID, or how it begins")
        which.add_argument("--others", action="store_true", help="all sessions but this one")
        return parser

    def _enroll(self, args: argparse.Namespace) -> None:
        sign_in = self._entrance.enroll(args.email, " ".join(args.full_name))
        print(f"Welcome, {render.shown(' '.join(args.full_name))}. You are signed in as {render.shown(sign_in.email)}.")

    def _login(self, args: argparse.Namespace) -> None:
        sign_in = self._entrance.login(args.email or self._usual_email())
        print(f"You are signed in as {render.shown(sign_in.email)}.")

    def _logout(self, _: argparse.Namespace) -> None:
        sign_in = self._store.signed_in(self._gateway.address)
        # A session that had ended by itself is what was asked for.
        with suppress(NotSignedIn):
            self._gateway.call(self._gateway.auth.Logout, pb.LogoutRequest(session_token=sign_in.session_token))
        self._store.forget(self._gateway.address)
        print(f"{render.shown(sign_in.email)} is signed out.")

    def _list(self, args: argparse.Namespace) -> None:
        sessions = self._sessions()
        if args.json:
            print(json.dumps([_facts(session) for session in sessions], indent=2))
        else:
            rows = [_row(session) for session in sessions]
            render.print_table(["ID", "Since", "Last used", "From", "Client"], rows)

    def _end(self, args: argparse.Namespace) -> None:
        request = pb.EndSessionRequest(session_token=self._token(), others=args.others)
        if args.others:
            ended = self._gateway.call(self._gateway.auth.EndSession, request).ended
            print(f"Ended {render.count(ended, 'other session')}.")
            return
        session = _named(args.session_id, self._sessions())
        request.session_id = session.session_id
        self._gateway.call(self._gateway.auth.EndSession, request)
        print(f"Ended session {_short(session)}.")
        if session.is_current:
            self._store.forget(self._gateway.address)
            print("It was this one: you are signed out.")

    def _sessions(self) -> Sequence[pb.SessionInfo]:
        request = pb.ListSessionsRequest(session_token=self._token())
        return self._gateway.call(self._gateway.auth.ListSessions, request).sessions

    def _token(self) -> str:
        return self._store.signed_in(self._gateway.address).session_token

    def _usual_email(self) -> str:
        known = self._store.known(self._gateway.address)
        if known:
            return known.email
        try:
            email = self._person.ask("E-mail: ")
        except EOFError:
            email = ""
        if not email:
            raise SignInLeft
        return email


def _named(beginning: str, sessions: Sequence[pb.SessionInfo]) -> pb.SessionInfo:
    """The one session whose ID begins so. Raises: SessionUnknown, UsageWrong when there are several."""
    found = [session for session in sessions if beginning and session.session_id.startswith(beginning)]
    if not found:
        raise SessionUnknown(session_id=beginning or repr(beginning))
    if len(found) > 1:
        raise UsageWrong(reason=f"the IDs of {len(found)} sessions begin with {beginning}; type more of it")
    return found[0]


def _row(session: pb.SessionInfo) -> tuple[str, str, str, str, str]:
    mark = "  (this one)" if session.is_current else ""
    since, used = render.when(session.created_at), render.when(session.last_used_at)
    return _short(session), since, used, render.shown(session.peer), render.shown(session.client) + mark


def _short(session: pb.SessionInfo) -> str:
    return render.shown(session.session_id[:SHOWN_ID])


def _facts(session: pb.SessionInfo) -> dict[str, object]:
    return {field.name: getattr(session, field.name) for field in session.DESCRIPTOR.fields}
