import io

import pytest

from medssl.cli import progress


def test_lines_are_paced_and_remarks_are_not(capsys):
    lines = progress.Lines(every=1000)
    for step in range(1, 101):
        if step % 10 == 0:
            lines("step", {"step": step, "loss": 0.5, "images_per_second": 42.0})
        lines("pulse", {"step": step, "total": 100})
    lines("remark", {"step": 100, "text": "The loss is flat"})
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.splitlines() == [
        "training 1/100",
        "training 100/100 | loss 0.5 | 42 images/s",
        "note: The loss is flat",
    ]


def test_a_line_shows_loss_speed_waiting_and_time_left(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress.Lines(every=5)
    lines("start", {"step": 0, "total": 100})
    now[0] = 10.0
    lines("step", {"step": 10, "loss": 0.123456, "images_per_second": 321.4, "data_wait_share": 0.031})
    lines("pulse", {"step": 10, "total": 100})
    assert capsys.readouterr().err.splitlines()[-1] == (
        "training 10/100 | loss 0.1235 | 321 images/s | 3% waiting for data | 2 min left"
    )


def test_the_time_left_of_a_second_run_is_its_own(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress.Lines(every=5)
    for begin in (0.0, 1000.0):
        now[0] = begin
        lines("start", {"step": 0, "total": 100})
        now[0] = begin + 10
        lines("pulse", {"step": 10, "total": 100})
        assert capsys.readouterr().err.splitlines()[-1] == "training 10/100 | 2 min left"
        lines("pulse", {"step": 100, "total": 100})


def test_a_line_of_the_log_brings_figures_and_the_pulse_after_it_shows_them(capsys):
    lines = progress.Lines(every=0)
    lines("step", {"step": 5, "loss": 1.0})
    lines("pulse", {"step": 5, "total": 10})
    assert capsys.readouterr().err == "training 5/10 | loss 1\n"


def test_a_second_run_does_not_begin_with_the_loss_of_the_first(capsys):
    lines = progress.Lines(every=0)
    lines("step", {"step": 10, "loss": 0.5})
    lines("pulse", {"step": 10, "total": 10})
    lines("start", {"step": 0, "total": 10})
    lines("pulse", {"step": 1, "total": 10})
    assert [("loss" in line) for line in capsys.readouterr().err.splitlines()] == [True, False, False]


def test_monitors_are_sentences_and_unknown_scores_are_left_out(capsys):
    lines = progress.Lines()
    lines("monitor", {"step": 0, "epoch": 0, "feature_std": 0.14})
    lines(
        "monitor",
        {"step": 32, "epoch": 3, "knn_auroc": 0.71234, "knn_n": 300, "feature_std": 0.2, "effective_rank": 5.5},
    )
    lines(
        "monitor", {"step": 40, "epoch": 4, "knn_auroc": None, "knn_n": 0, "feature_std": 0.2, "effective_rank": None}
    )
    assert capsys.readouterr().err.splitlines() == [
        "before training: spread 0.14",
        "epoch 4: kNN AUROC 0.712 (n=300), spread 0.2, effective rank 5.5",
        "epoch 5: spread 0.2",
    ]


@pytest.mark.parametrize("text", ["[red]patient[/red] [/oops]", "[bold", "a [link=file:///etc]b[/link]"])
def test_markup_in_foreign_text_is_shown_as_it_is(monkeypatch, text):
    from rich.console import Console

    shown = io.StringIO()
    bar = progress.Bar()
    bar._display.live.console = Console(file=shown, force_terminal=True, width=200)
    with bar:
        bar("remark", {"step": 1, "text": text})
        bar(text, {"done": 1, "total": 2})
        bar("step", {"step": 1, "loss": 1.0})
        bar("pulse", {"step": 1, "total": 2})
    plain = "".join(shown.getvalue().split("\x1b[")[:1]) + shown.getvalue()
    assert text in plain
    assert "loss 1" in plain


@pytest.mark.parametrize(("seconds", "text"), [(4.6, "5 s"), (90, "2 min"), (3599, "60 min"), (7300, "2.0 h")])
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_a_bar_only_on_a_terminal(monkeypatch):
    with progress.shown() as display:
        assert isinstance(display, progress.Lines)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with progress.shown() as display:
        assert isinstance(display, progress.Bar)
