"""Laws of pacing: a scrub reads everything in its time and evenly, and repair makes way without stopping."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core import repair, scrub
from cloudgrpc.core.scrub import Claim

DAY = 86_400 * 1_000_000
IDS = st.text("0123456789abcdef", min_size=32, max_size=32)
SPANS = st.floats(1, 3650).map(lambda days: days * DAY)


@given(IDS, IDS)
def test_a_pass_goes_forward_with_the_ids_it_has_read(one: str, other: str) -> None:
    assert 0 <= scrub.position(one) < 1
    assert scrub.position(min(one, other)) <= scrub.position(max(one, other))
    assert scrub.position("") == 0


@given(IDS, SPANS, st.integers(0, 1 << 50))
def test_whatever_was_read_is_followed_within_the_time_of_a_pass(after: str, span: float, began: int) -> None:
    wait = scrub.wait_us(began, after, began, span)
    assert 0 <= wait <= span * scrub.PASS_PART
    assert scrub.wait_us(began, after, began + int(span), span) <= 0


@given(SPANS, st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0, 1))
def test_no_chunk_is_unread_for_longer_than_the_span(span: float, speeds: list[float], place: float) -> None:
    """Passes of any speed up to the slowest, of which each reads a chunk at its place among the ids."""
    began, last_read = 0.0, None
    for speed in speeds:
        read_at = began + place * speed * scrub.PASS_PART * span
        if last_read is not None:
            assert read_at - last_read <= span * 1.000001
        last_read = read_at
        began = scrub.next_pass_at(int(began + speed * scrub.PASS_PART * span), span)


@given(st.lists(st.integers(0, 100), max_size=20), st.integers(1, 300))
def test_a_batch_is_the_first_chunks_that_fit_and_at_least_one(lengths: list[int], most: int) -> None:
    claims = [Claim(f"chunk{n}", "", length) for n, length in enumerate(lengths)]
    batch = scrub.batch(claims, most)
    assert list(batch) == claims[: len(batch)]
    total = sum(claim.length for claim in batch)
    assert total <= most or len(batch) == 1
    if len(batch) < len(claims):
        assert batch
        assert total + lengths[len(batch)] > most


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 1000))
def test_copying_makes_way_for_people_but_never_stops(busy: float, busier: float, mib_s: float) -> None:
    less, more = sorted([busy, busier])
    assert repair.adapted(mib_s, 0) == mib_s
    assert mib_s * repair.LEAST_PART <= repair.adapted(mib_s, more) <= repair.adapted(mib_s, less)


@given(st.floats(0, 1000))
def test_looking_at_all_copies_takes_a_twentieth_of_the_time_at_most(looked_s: float) -> None:
    assert looked_s <= (looked_s + repair.rest_s(looked_s)) / 20 + 1e-9
