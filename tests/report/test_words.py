import math

import pytest

from medssl.report import words


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.0, "5\u00a0%"), (0.5, "0.5\u00a0%"), (33.333, "33\u00a0%"), (7.42, "7.4\u00a0%"), (None, "undefined")],
)
def test_percent(value, text):
    assert words.percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (42, "42\u00a0s"),
        (840, "14\u00a0min"),
        (12_000, "3\u00a0h 20\u00a0min"),
        (187_200, "2\u00a0d 4\u00a0h"),
        (None, "unknown"),
    ],
)
def test_duration(seconds, text):
    assert words.duration(seconds) == text


def test_an_undefined_number_is_never_a_number():
    assert {words.number(v) for v in (None, math.nan, math.inf, "0.5", True)} == {"undefined"}
    assert words.interval(0.1, None) == "no interval"


def test_signs():
    assert words.signed(0.0312) == "+0.031"
    assert words.signed(-0.0312) == "\u22120.031"


def test_plural():
    assert [words.plural(n, "patient") for n in (0, 1, 1204, None)] == [
        "0 patients", "1 patient", "1,204 patients", "unknown patients"
    ]  # fmt: skip


def test_clean_keeps_text_and_replaces_what_can_deceive_or_break():
    assert words.clean("Zoë 日本 🩻\n") == "Zoë 日本 🩻\n"
    assert words.clean("a\x00\x1b[31m\u202eb\ud800\ufffe") == "a\ufffd\ufffd[31m\ufffdb\ufffd\ufffd"
