"""Recipes: every one that comes with medssl is valid; mistakes are named; stages run in order and go on."""

from pathlib import Path

import pytest

from medssl import api, stages
from medssl.errors import DataError, SettingsError

RECIPE = """
title: Two seeds
summary: For a test.
pretrain:
  - {name: a, modality: oct, method: mae, settings: {train: {epochs: 1, seed: 0}}}
  - {name: b, modality: oct, method: mae, settings: {train: {epochs: 1, seed: 1}}}
sweep:
  - {name: probe, arms: {mae: [a, b]}, fractions: [50, 100], draws: 2}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "two.yaml").write_text(RECIPE)
    return str(tmp_path / "two.yaml")


@pytest.mark.parametrize("name", stages.names())
def test_recipes_that_come_with_medssl_are_valid(name):
    recipe = stages.load(name)
    assert recipe.pretrain
    assert len(stages.commands(recipe, Path("study"))) == len(recipe.pretrain) + len(recipe.sweep)


def test_unknown_recipe_gives_the_nearest():
    with pytest.raises(SettingsError, match=r"Unknown recipe 'quik'\. Did you mean 'quick'"):
        stages.load("quik")


def test_absent_and_malformed_recipes_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.yaml"):
        stages.load(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(DataError, match="Expected a recipe"):
        stages.load(str(tmp_path / "list.yaml"))


def test_a_sweep_over_a_stage_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text(RECIPE.replace("[a, b]", "[a, c]"))
    with pytest.raises(SettingsError, match="Unknown pretraining stage 'c'"):
        stages.load(str(tmp_path / "bad.yaml"))


def test_stages_run_in_order_with_what_the_recipe_says(recipe, tmp_path, monkeypatch):
    calls, said = [], []
    monkeypatch.setattr(api, "pretrain", lambda *a, **k: calls.append(("pretrain", a, k)))
    monkeypatch.setattr(api, "sweep", lambda *a, **k: calls.append(("sweep", a, k)))
    out = tmp_path / "study"
    folders = stages.run(
        recipe, out, data=Path("m.parquet"), label="disease", settings={"train": {"epochs": 3}},
        progress=lambda kind, event: said.append(event["command"]),
    )  # fmt: skip
    assert folders == [out / "a", out / "b", out / "probe"]
    assert [name for name, _, _ in calls] == ["pretrain", "pretrain", "sweep"]
    assert calls[1][2]["settings"] == {"train": {"epochs": 3, "seed": 1}, "data": {"label": "disease"}}
    assert calls[2][1] == ({"mae": [out / "a", out / "b"]},)
    assert calls[2][2]["fractions"] == [50, 100]
    assert said[2].startswith(f"medssl sweep --arms mae={out}/a,{out}/b --data m.parquet")
    assert (out / "recipe.yaml").is_file()


def test_a_sweep_on_own_data_needs_a_label(recipe, tmp_path):
    with pytest.raises(SettingsError, match="--label"):
        stages.run(recipe, tmp_path / "study", data=Path("m.parquet"))
