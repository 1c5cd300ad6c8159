"""Token buckets, and what they hold in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.mapping.limits import RepeatLimiter, SourceLimiter, TokenBucket


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(10, 5, now=100.0)
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]
    assert [bucket.take(100.11), bucket.take(100.11)] == [True, False]
    assert [bucket.take(1000.0) for _ in range(6)] == [True] * 5 + [False]


def test_a_clock_that_jumps_back_neither_fills_nor_blocks() -> None:
    bucket = TokenBucket(10, 5, now=100.0)
    assert all(bucket.take(100.0) for _ in range(5))
    assert not bucket.take(50.0)
    assert bucket.take(50.1)


@given(
    st.floats(0.1, 100),
    st.integers(1, 20),
    st.lists(st.floats(0, 5), max_size=60),
)
def test_a_bucket_never_gives_more_than_it_says(
    rate: float, burst: int, steps: list[float]
) -> None:
    bucket, now, taken = TokenBucket(rate, burst), 0.0, 0
    for step in steps:
        now += step
        taken += bucket.take(now)
    assert taken <= burst + rate * now + 1e-6


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.7)), max_size=80))
def test_sources_are_limited_each_alone_and_like_a_bucket(steps: list[tuple[int, float]]) -> None:
    limiter, now = SourceLimiter(3, 3, 100), 1000.0
    alone = {source: TokenBucket(3, 3, 1000.0) for source in range(6)}
    for source, step in steps:
        now += step
        assert limiter.take(source, now) == alone[source].take(now)


def test_more_sources_than_the_table_holds_share_one_bucket() -> None:
    limiter = SourceLimiter(1, 2, 50)
    taken = [limiter.take(n, 10.0) for n in range(200)]
    assert sum(taken) == 50 + 2
    assert len(limiter) == 50
    assert limiter.overflows == 150
    # Once they are idle there is room again.
    assert limiter.take(999, 20.0)
    assert limiter.take(998, 30.0)
    assert len(limiter) <= 51


def test_repeats_are_counted_within_a_window() -> None:
    repeats = RepeatLimiter(2, 3.0, 3)
    assert [repeats.take("a", 10.0) for _ in range(3)] == [True, True, False]
    assert [repeats.take("a", 12.9), repeats.take("a", 13.1)] == [False, True]
    assert all(repeats.take(n, 13.2) for n in range(100))
    assert len(repeats) == 3
    assert repeats.take("a", 5.0)
