"""The shell's commands about the person: enroll, login, logout, whoami."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.shell_parser import Command, Parser
from cloudgrpc.clients.sign_in import Entrance
from cloudgrpc.errors import NotSignedIn, SignInLeft
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.clients.session import Gateway, SessionStore
    from cloudgrpc.clients.sign_in import Ask


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


def _whoami_parser() -> Parser:
    return Parser("whoami", "Show whose drive this is, and until when you are signed in.", "whoami")


class AccountCommands:
    def __init__(self, gateway: Gateway, store: SessionStore, ask: Ask) -> None:
        self._gateway = gateway
        self._store = store
        self._ask = ask
        self._entrance = Entrance(gateway, store, ask, lambda text: print(render.shown(text), file=sys.stderr))

    def commands(self) -> list[Command]:
        return [
            Command("Make an account.", _enroll_parser(), self._enroll),
            Command("Sign in with a code sent by e-mail.", _login_parser(), self._login),
            Command("End your session.", _logout_parser(), self._logout),
            Command("Show who is signed in.", _whoami_parser(), self._whoami),
        ]

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

    def _whoami(self, _: argparse.Namespace) -> None:
        token = self._store.signed_in(self._gateway.address).session_token
        me = self._gateway.call(self._gateway.auth.WhoAmI, pb.WhoAmIRequest(session_token=token))
        print(f"{render.shown(me.full_name)} <{render.shown(me.email)}>")
        print(f"at {self._gateway.address}, enrolled {render.when(me.created_at)}")
        print(f"signed in until {render.when(me.session_expires_at)}")

    def _usual_email(self) -> str:
        known = self._store.known(self._gateway.address)
        if known:
            return known.email
        try:
            email = self._ask("E-mail: ")
        except EOFError:
            email = ""
        if not email:
            raise SignInLeft
        return email
