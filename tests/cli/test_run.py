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


def test_options_reach_the_study_and_reports_are_named(monkeypatch):
    studies = []

    def record(study, *, resume, progress):
        studies.append((study, resume))
        progress("stage", {"command": study.commands()[0]})
        return [Path("here/mae"), Path("here/probe")]

    monkeypatch.setattr(stages.Study, "run", record)
    done = run(
        "quick", "-o", "here", "--data", "m.csv", "--label", "x", "--positive", "a", "--set", "train.epochs=3",
        "--resume",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    study, resume = studies[0]
    assert (study.recipe, study.out, study.data) == (stages.load("quick"), Path("here"), Path("m.csv"))
    assert (study.label, study.positive, study.negative, study.ood) == ("x", ["a"], None, None)
    assert (study.settings, resume) == ({"train": {"epochs": 3}}, True)
    assert "$ medssl pretrain --modality oct --method mae --data m.csv --label x --positive a --set" in done.output
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
        (["quick", "--dry-run", "--set", "train.epoch=3"], 2, "epochs"),
        (["quick", "--dry-run", "--set", "method=simclr"], 2, "'method' is given twice"),
        (["quick", "--dry-run", "--data", "nowhere.parquet", "--label", "x"], 65, "nowhere.parquet"),
        (["quick", "--dry-run", "--data", "nowhere.parquet"], 2, "--label"),
        (["quick", "--dry-run", "--ood", "nowhere.parquet"], 65, "nowhere.parquet"),
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
