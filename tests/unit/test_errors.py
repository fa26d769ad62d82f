"""The catalogue of errors: whole, unambiguous, and the same on both ends of a wire."""

from __future__ import annotations

import inspect
import re
import string
from typing import TYPE_CHECKING, cast

import grpc
import pytest

from cloudgrpc import errors, rpc
from cloudgrpc.errors import CATALOGUE, CloudError, Exit, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY_ERROR = pytest.mark.parametrize("error", CATALOGUE.values(), ids=CATALOGUE.keys())
HEALTH = {Exit.MISSING, Exit.LOST}  # what a report found, which is no failure


class Failure:
    """What rpc.error_of reads of a failed call."""

    def __init__(self, status: grpc.StatusCode, details: str, trailers: tuple[tuple[str, str], ...] = ()) -> None:
        self.code = lambda: status
        self.details = lambda: details
        self.trailing_metadata = lambda: trailers


def arrived(failure: Failure, peer: str = "the gateway") -> CloudError:
    return rpc.error_of(cast("grpc.Call", failure), peer)


def leaves(base: type[CloudError] = CloudError) -> Iterator[type[CloudError]]:
    for child in base.__subclasses__():
        yield from leaves(child)
        if not child.__subclasses__():
            yield child


def fields(words: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(words) if name is not None]


def filled(error: type[CloudError]) -> CloudError:
    """The error with a fact for every name; numbers, since some names are formatted as such."""
    return error(**dict.fromkeys(fields(error.words), 7))


@EVERY_ERROR
def test_every_error_says_what_it_is_and_what_to_try(error: type[CloudError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert isinstance(error.status, Status)
    assert hasattr(grpc.StatusCode, error.status)
    assert isinstance(error.exit_code, int)
    assert error.words
    assert error.hint.strip() == error.hint != ""


def test_no_error_is_left_out_of_the_catalogue() -> None:
    assert set(leaves()) <= set(CATALOGUE.values())


def test_no_two_errors_share_a_code() -> None:
    said = re.findall(r"^    code = \"(\w+)\"$", inspect.getsource(errors), flags=re.MULTILINE)
    assert sorted(said) == sorted(CATALOGUE)


@EVERY_ERROR
def test_words_are_filled_by_facts_with_names(error: type[CloudError]) -> None:
    assert all(name.isidentifier() for name in [*fields(error.words), *fields(error.hint)])
    told = str(filled(error))
    assert told
    assert "{" not in told


@EVERY_ERROR
def test_every_exit_code_is_one_of_the_documented(error: type[CloudError]) -> None:
    documented = {value for name, value in vars(Exit).items() if name.isupper()}
    assert error.exit_code in documented - {Exit.OK} - HEALTH


def test_exit_codes_are_unique() -> None:
    codes = [value for name, value in vars(Exit).items() if name.isupper()]
    assert len(codes) == len(set(codes))


@EVERY_ERROR
def test_an_error_crosses_the_wire_unchanged(error: type[CloudError]) -> None:
    raised = filled(error)
    failure = Failure(rpc.status_of(raised), str(raised), rpc.trailers_of(raised))
    assert type(arrived(failure)) is error
    assert str(arrived(failure)) == str(raised)


def test_a_gateway_that_is_not_there_is_named() -> None:
    told = arrived(Failure(grpc.StatusCode.UNAVAILABLE, "connection refused"), "10.0.0.1:50051")
    assert isinstance(told, errors.GatewayUnreachable)
    assert "10.0.0.1:50051" in str(told)


def test_a_deadline_that_passed_names_who_was_waited_for() -> None:
    told = arrived(Failure(grpc.StatusCode.DEADLINE_EXCEEDED, ""), "node1")
    assert isinstance(told, errors.CallTooSlow)
    assert "node1" in str(told)


def test_a_code_from_a_newer_server_falls_back_on_its_status() -> None:
    trailers = ((rpc.ERROR_KEY, "invented_in_the_future"),)
    told = arrived(Failure(grpc.StatusCode.NOT_FOUND, "No such thing.", trailers))
    assert told.status is Status.NOT_FOUND
    assert str(told) == "No such thing."


def test_a_status_of_no_error_of_ours_is_told_as_it_came() -> None:
    told = arrived(Failure(grpc.StatusCode.OUT_OF_RANGE, "too far"))
    assert isinstance(told, errors.Internal)
    assert "OUT_OF_RANGE" in str(told)
    assert "too far" in str(told)
