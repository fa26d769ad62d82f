"""Flags of a role that stand behind its words, where people write them."""

from __future__ import annotations

import pytest

from cloudgrpc import cli
from cloudgrpc.about.words import tree
from cloudgrpc.clients.flags import ALONE, VALUED, flags_among


@pytest.mark.parametrize(
    ("behind", "before"),
    [
        ("certs invite node1 --gateway h:1 --to f", "certs --gateway h:1 invite node1 --to f"),
        ("certs list --ca=ca.crt --all", "certs --ca=ca.crt list --all"),
        ("secrets backup --data-dir d FILE", "secrets --data-dir d backup FILE"),
        ("admin node drain node3 --wait --tls", "admin --tls node drain node3 --wait"),
        ("admin --gateway a:1 check --gateway b:2", "admin --gateway b:2 check"),
        ("shell ls --config c --log-level debug -l", "shell --config c --log-level debug ls -l"),
        ("pay tiers --gateway h:1", "pay --gateway h:1 tiers"),
    ],
)
def test_they_mean_the_same_as_before_them(behind: str, before: str) -> None:
    assert vars(cli.parsed(behind.split())) == vars(cli.parsed(before.split()))


@pytest.mark.parametrize("words", ["ls -- --tls", "-- ls --tls"])
def test_behind_two_dashes_everything_is_a_name(words: str) -> None:
    args = cli.parsed(["shell", *words.split()])
    assert (args.words[-1], args.tls) == ("--tls", False)


@pytest.mark.parametrize("words", ["list --gateway", "list --gateway --all", "list --tls=1"])
def test_one_that_makes_no_sense_stays_for_the_act_to_refuse(words: str) -> None:
    assert flags_among(words.split()) == ([], words.split())


def test_no_act_and_no_command_has_an_option_of_such_a_name() -> None:
    args = cli.parsed(["man"])
    for role in tree(args.parser, args.further).words:
        for word in role.all():
            if word.path[1:] and word.path not in args.further:
                names = {name for option in word.options for name in option.names}
                assert not names & (VALUED | ALONE), word.path
