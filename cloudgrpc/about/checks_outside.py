"""Those outside whom a gateway needs: the mail server that carries codes, and Campay that takes the money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cloudgrpc.about.checks_machine import judge_skew
from cloudgrpc.about.findings import Finding, note, ok, wrong
from cloudgrpc.errors import SettingsWrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.config import Config

MOST_S = 8.0  # of patience with each
MODES = {
    "sandbox": "is a sandbox on this machine: no money moves",
    "demo": "is its demo: real money, {most} XAF at most",
    "production": "is the real one: people pay real prices",
}


def look_at_mail(config: Config) -> Iterator[Finding]:
    mail = config.mail
    if not mail.user:
        yield note(
            "mail",
            "not configured: the gateway prints sign-in codes on its console",
            "For people elsewhere set [mail] user and password (GMAIL_USER, GMAIL_APP_PASSWORD).",
        )
        return
    from cloudgrpc.outside.mail import fault_of

    try:
        fault = fault_of(replace(mail, timeout_s=min(mail.timeout_s, MOST_S)))
    except SettingsWrong as error:
        fault = str(error)
    if fault:
        yield wrong("mail", f"no code could be sent: {fault}", _mail_help(fault))
    else:
        yield ok("mail", f"{mail.host}:{mail.port} lets {mail.user} sign in over TLS; no mail was sent")


def _mail_help(fault: str) -> str:
    if "signing in" in fault:
        return "Correct [mail] user and password; Gmail wants an app password, not your own."
    return "Correct [mail] host, port, security and ca_file, and let this machine reach that server."


def look_at_campay(config: Config) -> Iterator[Finding]:
    campay = config.campay
    if not campay.mode:
        yield note(
            "campay",
            "not configured: nothing can be bought",
            "To sell room set [campay] username, password and base_url (CAMPAY_APP_USERNAME, …).",
        )
        return
    # It needs requests, which takes a while to load.
    from cloudgrpc.outside.campay_look import meet

    try:
        met = meet(replace(campay, timeout_s=min(campay.timeout_s, MOST_S)))
    except SettingsWrong as error:
        yield wrong("campay", str(error), error.advice)
        return
    if met.fault:
        yield wrong("campay", f"{campay.api_url}: {met.fault}", "Correct [campay] username, password and base_url.")
    else:
        yield ok("campay", f"{campay.api_url} knows us, and {MODES[campay.mode].format(most=campay.demo_max_xaf)}")
    if met.ahead_s is not None and not campay.is_here:
        yield judge_skew(met.ahead_s, "Campay's")
