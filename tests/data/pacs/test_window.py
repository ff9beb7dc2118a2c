"""When and how fast a PACS is asked, on clocks of our own."""

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.data.pacs.window import Limit, Window, parse_window
from medssl.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "moment", "is_open", "opens_in"),
    [
        ("22:00-06:00", (21, 59, 30), False, 30),
        ("22:00-06:00", (22, 0, 0), True, 0),
        ("22:00-06:00", (0, 0, 0), True, 0),
        ("22:00-06:00", (5, 59, 59), True, 0),
        ("22:00-06:00", (6, 0, 0), False, 16 * 3600),
        ("12:30-13:00", (12, 29, 0), False, 60),
        ("12:30-13:00", (12, 45, 0), True, 0),
        ("12:30-13:00", (13, 0, 0), False, 23.5 * 3600),
        ("22:00-24:00", (23, 59, 59), True, 0),
        ("22:00-24:00", (0, 0, 0), False, 22 * 3600),
    ],
)
def test_a_window_may_span_midnight(text, moment, is_open, opens_in):
    now = datetime(2026, 3, 1, *moment)
    assert parse_window(text).open(now) is is_open
    assert parse_window(text).opens_in(now) == opens_in


@given(
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)),
)
def test_a_window_opens_when_it_was_said_to_and_not_before(start, end, now):
    window = Window(time(*divmod(start, 60)), time(*divmod(end, 60)))
    if start == end:
        return
    wait = timedelta(seconds=window.opens_in(now))
    assert window.open(now + wait)
    if wait:
        assert not window.open(now + wait - timedelta(microseconds=1))
        assert (now + wait).time() == window.start


@pytest.mark.parametrize(
    "text", ["", "22-6", "22:00", "25:00-06:00", "22:60-23:00", "06:00-06:00", "22:00-06:00-07:00"]
)
def test_what_is_no_window_is_refused(text):
    with pytest.raises(SettingsError, match="--between"):
        parse_window(text)


class Clock:
    def __init__(self):
        self.time = 100.0

    def now(self):
        return self.time

    def sleep(self, seconds):
        assert seconds > 0
        self.time += seconds


def test_a_limit_holds_on_average_and_saves_nothing_up():
    clock = Clock()
    limit = Limit(2.0, clock.now, clock.sleep)
    for _ in range(11):
        limit.take()
    assert clock.time == pytest.approx(100 + 10 / 2)
    clock.time += 1000  # a pause is not followed by a burst
    before = clock.time
    for _ in range(5):
        limit.take()
    assert clock.time - before == pytest.approx(4 / 2)


def test_a_large_amount_is_paid_for_afterwards():
    clock = Clock()
    limit = Limit(10.0, clock.now, clock.sleep)
    limit.take(50)
    assert clock.time == 100
    limit.take(1)
    assert clock.time == pytest.approx(105)


def test_no_limit_never_waits_and_a_limit_of_nothing_is_refused():
    clock = Clock()
    for _ in range(5):
        Limit(None, clock.now, clock.sleep).take(1e9)
    assert clock.time == 100
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="above 0"):
            Limit(bad)


def test_the_window_of_a_text():
    assert parse_window(" 7:05-19:30 ") == Window(time(7, 5), time(19, 30))
