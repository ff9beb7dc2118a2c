"""Recipes: every one that comes with medssl is valid; mistakes are named; stages run in order and go on."""

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from medssl import api, stages
from medssl.data.keys import AS_THEY_ARE
from medssl.data.scan import scan
from medssl.errors import DataError, SettingsError, StorageError
from medssl.settings import flat, parse_overrides

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
    assert len(stages.Study(recipe, Path("study")).commands()) == len(recipe.pretrain) + len(recipe.sweep)


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


def test_an_arm_may_be_weights_kept_on_the_way(tmp_path, calls):
    (tmp_path / "kept.yaml").write_text(RECIPE.replace("[a, b]", "[a@3]"))
    recipe = stages.load(str(tmp_path / "kept.yaml"))
    asked = {"recipe": recipe, "out": tmp_path / "out", "data": tmp_path / "m.parquet", "label": "disease"}
    for kept in ([1, 2], 3, None, "[3]"):
        with pytest.raises(SettingsError, match=r"stage 'a' keeps no weights after epoch '3' \(train\.keep_epochs\)"):
            stages.Study(**asked, settings={"train": {"keep_epochs": kept}}).check()
    stages.Study(**asked, settings={"train": {"keep_epochs": [1, 3]}}).check()
    assert stages.load("cxr-mae").sweep[0].arms["mae-5"] == ["seed-0@5", "seed-1@5", "seed-2@5"]


@pytest.fixture
def calls(monkeypatch):
    """What reaches the stages, instead of runs."""
    calls = []
    for name in ("pretrain", "sweep", "check_sweep"):
        monkeypatch.setattr(api, name, lambda *a, name=name, **k: calls.append((name, a, k)))
    return calls


def test_stages_run_in_order_with_what_the_recipe_says(recipe, tmp_path, calls):
    said, out = [], tmp_path / "study"
    study = stages.Study(
        stages.load(recipe), out, data=Path("m.parquet"), label="disease", settings={"train": {"epochs": 3}}
    )
    folders = study.run(progress=lambda kind, event: said.append(event["command"]))
    assert folders == [out / "a", out / "b", out / "probe"]
    assert [name for name, _, _ in calls] == ["check_sweep", "pretrain", "pretrain", "sweep"]
    assert calls[2][2]["settings"] == {"train": {"epochs": 3, "seed": 1}, "data": {"label": "disease"}}
    assert calls[3][1] == ({"mae": [out / "a", out / "b"]},)
    assert calls[3][2]["fractions"] == [50, 100]
    assert said == study.commands()
    assert (out / "recipe.yaml").is_file()


def test_commands_say_all_that_a_person_would_type(recipe, calls):
    study = stages.Study(
        stages.load(recipe), Path("my study"), data=Path("m.parquet"), ood=["o.parquet", "shift:all"], label="disease",
        positive=["AMD", "DME"], negative=["007"], settings={"train": {"epochs": 3}, "data": {"where": "007"}},
    )  # fmt: skip
    first, _, last = map(shlex.split, study.commands())
    words = ["--data", "m.parquet", "--label", "disease", "--positive", "AMD", "DME", "--negative", "007"]
    assert first[2:6] == ["--modality", "oct", "--method", "mae"]
    assert first[6:] == [*words, "--set", "train.epochs=3", "train.seed=0", "data.where=007", "-o", "my study/a"]
    assert last[2:] == [
        "--arms", "mae=my study/a,my study/b", *words, "--ood", "o.parquet", "shift:all", "--fractions", "50", "100",
        "--draws", "2", "--mode", "probe", "-o", "my study/probe",
    ]  # fmt: skip


def test_settings_in_commands_are_read_back_as_they_were():
    values = {"a": {"x": None, "y": [1, 2.5], "z": "no", "w": "3", "v": True, "u": "null", "t": "a b"}}
    words = [f"{name}={stages._plain(value)}" for name, value in flat(values).items()]
    assert parse_overrides(words) == values


@pytest.mark.parametrize("change", [{"where": 1}, {"margin": "wide"}, {"drop_overlap": "test"}])
def test_unknown_options_of_a_sweep_are_refused(tmp_path, change):
    bad = RECIPE.replace("draws: 2}", f"draws: 2, options: {json.dumps(change)}}}")
    (tmp_path / "bad.yaml").write_text(bad)
    with pytest.raises(SettingsError, match=next(iter(change))):
        stages.load(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: b", "name: a", "Two stages are called 'a'"),
        ("name: probe", "name: a", "Two stages are called 'a'"),
        ("name: b", "name: ..", "name"),
        ("name: b", "name: recipe.yaml", "name"),
        ("[a, b]", "[]", "mae"),
        ("seed: 1", "seed: 0", "Two stages of the arm 'mae' have one seed"),
        ("seed: 1}", "seed: 1}, data: {image_size: 32}", "differ in modality or image size"),
    ],
)
def test_a_recipe_that_could_only_fail_later_is_refused(tmp_path, old, new, said):
    assert old in RECIPE
    (tmp_path / "bad.yaml").write_text(RECIPE.replace(old, new))
    with pytest.raises(SettingsError, match=said):
        stages.load(str(tmp_path / "bad.yaml"))


def test_a_label_given_twice_is_refused(recipe, images, tmp_path):
    settings = {"data": {"label": "other"}}
    study = stages.Study(stages.load(recipe), tmp_path / "study", data=images, label="disease", settings=settings)
    with pytest.raises(SettingsError, match=r"'data\.label' is given twice"):
        study.check()


def test_a_sweep_on_own_data_needs_a_label(recipe, tmp_path):
    study = stages.Study(stages.load(recipe), tmp_path / "study", data=Path("m.parquet"))
    for act in (study.check, study.run):
        with pytest.raises(SettingsError, match="--label"):
            act()
    assert not (tmp_path / "study").exists()


def test_a_folder_of_something_else_is_not_gone_on_with(recipe, tmp_path, calls):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.tex").write_text("precious")
    with pytest.raises(StorageError, match="something else"):
        stages.Study(stages.load(recipe), tmp_path / "study").run(resume=True)
    assert calls == []
    (tmp_path / "study" / "a").mkdir()
    stages.Study(stages.load(recipe), tmp_path / "study").run(resume=True)
    assert len(calls) == 4


@pytest.fixture
def images(tmp_path):
    """Pictures of twelve patients with a label, and their manifest."""
    folder = tmp_path / "images"
    folder.mkdir()
    rows = ["file,patient_id,disease"]
    for i in range(12):
        Image.new("L", (20, 20), 20 * i).save(folder / f"{i}.png")
        rows.append(f"{i}.png,p{i},{'yes' if i % 2 else 'no'}")
    (folder / "labels.csv").write_text("\n".join(rows))
    scan([folder], labels=folder / "labels.csv", key=AS_THEY_ARE).save(folder / "m.parquet")
    return folder / "m.parquet"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({}, None, ""),
        ({"settings": {"train": {"epochs": 0}}}, SettingsError, r"train\.epochs"),
        ({"settings": {"method": "simclr"}}, SettingsError, "'method' is given twice"),
        ({"label": "diseas"}, SettingsError, "diseas"),
        ({"positive": ["perhaps"]}, SettingsError, "perhaps"),
        ({"ood": ["nowhere.parquet"]}, DataError, r"nowhere\.parquet"),
        ({"ood": ["shift:fog"]}, SettingsError, "fog"),
        ({"data": Path("nowhere.parquet")}, DataError, r"nowhere\.parquet"),
    ],
)
def test_mistakes_in_any_stage_are_found_beforehand(recipe, images, tmp_path, change, error, said):
    settings = {"data.image_size": 16, "vit.patch_size": 4, "train.epochs": 1}
    study = stages.Study(
        stages.load(recipe), tmp_path / "study", **{"data": images, "label": "disease", "settings": settings, **change}
    )
    if error is None:
        study.check()
    else:
        with pytest.raises(error, match=said):
            study.check()
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("fractions: [0]", "above 0"),
        ("fractions: [50], options: {budget: {step: 3}}", "step"),
        ("fractions: [50], options: {primary: mea}", "mea"),
        ("arms: {scratch: [a, b]}, fractions: [50]", "'scratch' is built in"),
    ],
)
def test_mistakes_in_a_sweep_are_found_before_hours_of_pretraining(images, tmp_path, options, said):
    (tmp_path / "bad.yaml").write_text(
        RECIPE.replace("arms: {mae: [a, b]}, ", "" if "arms" in options else "arms: {mae: [a, b]}, ").replace(
            "fractions: [50, 100]", options
        )
    )
    study = stages.Study(stages.load(str(tmp_path / "bad.yaml")), tmp_path / "study", data=images, label="disease")
    with pytest.raises(SettingsError, match=said):
        study.run()
    assert not (tmp_path / "study").exists()
