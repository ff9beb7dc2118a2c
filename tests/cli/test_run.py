"""`medssl run`: recipes are listed, dry runs print commands, options reach the stages, mistakes are one sentence."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medssl import stages
from medssl.cli.main import build


def run(*arguments):
    return CliRunner().invoke(build(), ["run", *map(str, arguments)])


def test_without_a_name_recipes_are_listed():
    done = run()
    assert done.exit_code == 0
    assert [line.partition(":")[0] for line in done.output.splitlines()] == stages.names()


def test_a_dry_run_prints_commands_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("quick", "--dry-run", "-o", "study")
    assert done.exit_code == 0, done.output
    commands = [line for line in done.output.splitlines() if line.startswith("medssl ")]
    assert [line.split()[1] for line in commands] == ["pretrain", "sweep"]
    assert "--arms mae=study/mae" in commands[1]
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_stages_and_reports_are_named(monkeypatch):
    calls = []

    def record(*arguments, **options):
        calls.append((arguments, options))
        options["progress"]("stage", {"command": "medssl pretrain"})
        return [Path("here/mae"), Path("here/probe")]

    monkeypatch.setattr(stages, "run", record)
    done = run("quick", "-o", "here", "--data", "m.csv", "--label", "x", "--set", "train.epochs=3", "--resume")
    assert done.exit_code == 0, done.output
    (recipe, target), options = calls[0]
    assert (recipe, target, options["data"], options["label"]) == ("quick", Path("here"), Path("m.csv"), "x")
    assert (options["settings"], options["resume"], options["ood"]) == ({"train": {"epochs": 3}}, True, None)
    assert "$ medssl pretrain" in done.output
    assert f"Report: {Path('here/probe/report.html')}" in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["quikc"], 2, "quick"),
        (["quick", "--set", "train.epochs"], 2, "train.epochs"),
        (["quick", "--set", "train.epoch=3"], 2, "epochs"),
        (["quick", "--data", "nowhere.parquet", "--label", "x"], 65, "nowhere.parquet"),
        (["quick", "--data", "nowhere.parquet"], 2, "--label"),
        (["broken.yaml"], 65, "broken.yaml"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("title: [")
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["broken.yaml"]
