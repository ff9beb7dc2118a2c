import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medssl import api
from medssl.cli import main
from medssl.errors import StoppedError


def invoke(*arguments):
    application = main.build()
    return CliRunner().invoke(application, main.spread(application, ["pretrain", *map(str, arguments)]))


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What reaches the function, instead of a run; the run it returns is made up."""
    calls = []
    run = tmp_path / "a run"
    run.mkdir()
    settings = "modality: oct\nmethod: mae\ndata: {manifest: /data/m.parquet, label: finding}\n"
    (run / "settings.yaml").write_text(settings)
    (run / "provenance.json").write_text(json.dumps({"synthetic": True}))

    def record(modality, method, **options):
        calls.append({"modality": modality, "method": method, **options})
        return api.Run(run)

    monkeypatch.setattr(api, "pretrain", record)
    return calls


def test_options_reach_the_function(asked):
    result = invoke(
        "--modality", "oct", "--method", "mae", "--data", "m.csv", "--label", "finding", "--positive", "AMD", "DME",
        "--negative", "NO", "--backbone", "vit_small", "--preset", "none", "--set", "train.epochs=20",
        "mae.mask_ratio=0.8", "-o", "out", "--resume",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    call = asked[0]
    assert (call["modality"], call["method"], call["backbone"], call["preset"]) == ("oct", "mae", "vit_small", "none")
    assert (call["data"], call["out"], call["resume"], call["dry_run"]) == (Path("m.csv"), Path("out"), True, False)
    assert call["settings"] == {
        "train": {"epochs": 20},
        "mae": {"mask_ratio": 0.8},
        "data": {"label": "finding", "positive": ["AMD", "DME"], "negative": ["NO"]},
    }


def test_it_ends_with_the_next_command_and_says_when_all_was_synthetic(asked):
    result = invoke("--modality", "oct", "--method", "mae")
    assert asked[0]["settings"] == {}
    assert "synthetic" in result.stdout
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("Next: medssl sweep --arms '")
    assert last.endswith("a run' --data /data/m.parquet --label finding")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--modality", "oc", "--method", "mae"], 2, ["Unknown modality 'oc'", "Did you mean 'oct'", "cxr"]),
        (["--modality", "oct", "--method", "mea"], 2, ["Unknown method 'mea'", "'mae'", "simclr"]),
        (
            ["--modality", "oct", "--method", "mae", "--backbone", "vit_smal"],
            2,
            ["'vit_smal'", "'vit_small'", "resnet50"],
        ),
        (["--modality", "oct", "--method", "mae", "--set", "train.epoch=3"], 2, ["'train.epoch'", "'epochs'"]),
        (["--modality", "oct", "--method", "mae", "--set", "epochs"], 2, ["NAME=VALUE"]),
        (["--modality", "oct", "--method", "mae", "--set", "epochs=3"], 2, ["'epochs'"]),
        (["--method", "mae"], 2, ["--modality"]),
        (["--modality", "oct", "--method", "mae", "--data", "/not/there"], 65, ["/not/there"]),
        (["--from", "/not/there.yaml"], 65, ["/not/there.yaml"]),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(arguments, code, words):
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_stop_is_75(monkeypatch):
    def stop(*_, **__):
        raise StoppedError("Stopped on SIGTERM after step 3 of 9", fix="Go on with: --resume")

    monkeypatch.setattr(api, "pretrain", stop)
    result = invoke("--modality", "oct", "--method", "mae")
    assert result.exit_code == 75
    assert "--resume" in result.stderr


def test_a_dry_run_prints_choices_with_sources_and_an_estimate(tmp_path, monkeypatch):
    from PIL import Image

    for number in range(6):
        Image.new("L", (20, 20), 40 * number).save(tmp_path / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    result = invoke(
        "--modality", "oct", "--method", "mae", "--data", tmp_path, "--dry-run", "--set", "data.holdout=0",
        "train.epochs=2", "data.image_size=32", "train.batch_size=3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for words in (
        r"train.epochs",
        "set by you",
        "RETFound",
        "rough estimate",
        "4 steps",
        "6 images",
        "run folder: runs/",
    ):
        assert words in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_purpose_reaches_the_function(asked):
    assert invoke("--modality", "oct", "--for", "segmentation").exit_code == 0
    assert (asked[0]["method"], asked[0]["purpose"]) == (None, "segmentation")
