"""When a request is sent again, and how long is waited."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from salus.client.pace import Pace
from salus.client.retries import Retries, RetryState, retry_after
from salus.errors import OptionError

if TYPE_CHECKING:
    from client.conftest import Clock


def test_waits_grow_exponentially_up_to_a_limit_and_are_drawn_from_zero_up(clock: Clock) -> None:
    retries = Retries(attempts=6, first=1.0, longest=5.0, deadline=1000.0)
    for share in (0.0, 0.5, 0.999):
        state = RetryState(retries, clock, lambda share=share: share)  # type: ignore[misc]
        waits = []
        for _ in range(5):
            state.begin()
            waits.append(state.wait())
        assert waits == [pytest.approx(share * most) for most in (1.0, 2.0, 4.0, 5.0, 5.0)]


def test_there_is_no_further_attempt_after_the_last_one_nor_beyond_the_deadline(clock: Clock) -> None:
    state = RetryState(Retries(attempts=2, deadline=10.0), clock, lambda: 0.5)
    state.begin()
    assert state.wait(9.0) == 9.0
    assert state.wait(11.0) is None, "a service that asks for longer is not bothered earlier"
    clock.now = 10.0
    assert state.left == 0.0 and state.wait() is None
    state.begin()
    clock.now = 0.0
    assert state.wait() is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 40, 999999999.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    now = datetime(2015, 10, 21, 7, 28, tzinfo=timezone.utc)
    assert retry_after(value, lambda: now) == seconds


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match="attempts"):
        Retries(attempts=0)


def test_no_second_sees_more_inputs_than_the_rate_allows(clock: Clock) -> None:
    pace = Pace(10.0, clock, clock.sleep)
    sent: list[tuple[float, int]] = []
    for count in (10, 5, 5, 10, 1, 9, 10, 3, 7, 2):
        pace.take(count)
        sent.append((clock.now, count))
        clock.now += 0.3 * (count == 1)
    for start in (when for when, _ in sent):
        assert sum(count for when, count in sent if start <= when < start + 1) <= 10
    assert clock.now <= 6.5, "and it is not much slower"


def test_slow_rates_are_one_input_in_some_seconds(clock: Clock) -> None:
    pace = Pace(0.25, clock, clock.sleep)
    for _ in range(3):
        pace.take(1)
    assert clock.slept == [4.0, 4.0] and pace.most == 1


def test_time_that_passed_unused_gives_no_more_than_one_seconds_worth(clock: Clock) -> None:
    pace = Pace(10.0, clock, clock.sleep)
    clock.now = 100.0
    pace.take(10)
    pace.take(10)
    assert clock.slept == [pytest.approx(1.0)] and pace.most == 10 and Pace(None).most is None
