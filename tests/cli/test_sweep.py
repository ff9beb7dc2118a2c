from pathlib import Path

import pytest
from typer.testing import CliRunner

from medssl import api
from medssl.cli import main, sweep
from medssl.errors import DataError, SettingsError

SETTINGS = {
    "arms": {"mae": ["runs/a", "runs/b"]}, "label": "finding", "data": "m.parquet", "ood": {"lyon": "l.parquet"},
    "ood_labels": False, "shifts": ["blur"],
    "fractions": [5, 33.5], "draws": 3, "mode": "probe", "margin": 0.02,
    "primary": {"a": "mae", "b": "scratch", "fraction": 5},
}  # fmt: skip


def invoke(*arguments: str):
    application = main.build()
    return CliRunner().invoke(application, main.spread(application, ["sweep", *arguments]))


@pytest.fixture
def asked(monkeypatch):
    """What reaches the function, instead of a sweep."""
    calls = []

    def record(arms, **options):
        calls.append({"arms": arms, **options})
        options["progress"]("plan", {"settings": SETTINGS, "cells": 54, "folder": "sweeps/x"})
        results = {"remarks": ["Mind the gap"], "verdicts": [{"primary": True, "sentence": "It helps."}]}
        return type("Sweep", (), {"folder": Path("sweeps/x"), "results": results})

    monkeypatch.setattr(api, "sweep", record)
    return calls


def test_options_with_several_values_reach_the_function(asked):
    result = invoke(
        "--arms", "runs/a", "b=runs/b,runs/c", "--data", "m.csv", "--label", "finding", "--ood", "x.csv", "y.csv",
        "--fractions", "5", "33.5", "--draws", "3", "--negative", "NO", "NORMAL", "--drop-overlap", "train",
        "-o", "out", "--resume", "--seed", "4", "--mode", "finetune", "--primary", "b",
        "--margin", "0.05", "--checkpoint", "best", "--budget", "steps=80", "learning_rates=[1e-3]",
        "--ood-labels",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    call = asked[0]
    assert call["arms"] == ["runs/a", "b=runs/b,runs/c"]
    assert call["ood_labels"] is True
    assert call["budget"] == {"steps": 80, "learning_rates": [1e-3]}
    assert (call["data"], call["ood"]) == (Path("m.csv"), ["x.csv", "y.csv"])
    assert (call["fractions"], call["draws"], call["negative"]) == ([5, 33.5], 3, ["NO", "NORMAL"])
    assert (call["drop_overlap"], call["resume"], call["seed"], call["mode"]) == ("train", True, 4, "finetune")
    assert (call["primary"], call["margin"], call["checkpoint"], call["out"]) == ("b", 0.05, "best", Path("out"))


def test_defaults_are_those_of_the_function(asked):
    assert invoke("--arms", "runs/a").exit_code == 0
    call = asked[0]
    assert (call["data"], call["label"], call["ood"], call["drop_overlap"]) == (None, None, None, None)
    assert (call["fractions"], call["draws"], call["mode"]) == ([1, 5, 10, 33, 100], 5, "probe")


def test_the_plan_and_the_verdict_are_printed(asked):
    result = invoke("--arms", "runs/a")
    assert "Primary comparison, fixed now: mae against scratch at 5 %" in result.output
    assert "54 cells" in result.output
    assert "mae (2 runs), scratch, random, pixels, shortcut" in result.output
    assert "It helps." in result.output
    assert "note: Mind the gap" in result.output
    assert "Report: sweeps/x/report.html" in result.output


def test_a_dry_run_ends_with_the_plan(asked):
    result = invoke("--arms", "runs/a", "--dry-run")
    assert "54 cells" in result.output
    assert "Report" not in result.output


@pytest.mark.parametrize(("error", "code"), [(SettingsError("No such arm"), 2), (DataError("One class"), 65)])
def test_an_error_is_one_sentence_and_its_exit_code(monkeypatch, error, code):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(api, "sweep", fail)
    result = invoke("--arms", "runs/a")
    assert result.exit_code == code
    assert result.output.strip().startswith("medssl: ")
    assert "Traceback" not in result.output


def test_a_run_that_is_not_there_is_bad_input(tmp_path):
    result = invoke("--arms", str(tmp_path / "nothing"), "--label", "finding", "--data", str(tmp_path / "m.parquet"))
    assert result.exit_code == 65
    assert "There is no such run folder" in result.output


def test_without_arms_the_usage_is_said():
    assert invoke().exit_code == 2


def test_the_plan_in_words():
    text = sweep.plan({"settings": SETTINGS, "cells": 54, "folder": "sweeps/x"})
    assert "5 %, 33.5 % of the training patients, 3 draws, probe: 54 cells" in text
    assert "tested: in distribution, lyon" in text
