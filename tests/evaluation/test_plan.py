import pytest

from medssl.data.manifest import Manifest
from medssl.errors import DataError, SettingsError
from medssl.evaluation import plan
from medssl.evaluation.arms import open_arms
from medssl.evaluation.cohort import LabelSpec, words_for


@pytest.fixture
def make_plan(here, run):
    def make(**changes):
        data = (here, Manifest.load(here))
        values = {
            "fractions": [33, 5], "primary": None, "drop_overlap": None, "budget": {}, "label": "finding",
            "positive": None, "negative": None, "draws": 2, "mode": "probe", "seed": 0, "checkpoint": "last",
            "margin": 0.02, "device": "cpu",
        }  # fmt: skip
        return plan.resolve(open_arms([run], "last"), data, {}, **{**values, **changes})

    return make


def test_the_primary_comparison_is_the_first_arm_against_scratch_at_the_smallest_fraction(make_plan):
    settings = make_plan()
    assert settings.fractions == [5, 33]
    assert settings.primary == {"test_set": "id", "a": "mae", "b": "scratch", "fraction": 5, "metric": "auroc"}
    assert make_plan(primary="pixels").primary["a"] == "pixels"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"primary": "mea"}, "Unknown arm 'mea'.*Did you mean 'mae'"),
        ({"primary": "scratch"}, "against scratch itself"),
        ({"fractions": [0, 5]}, "above 0 and up to 100 per cent, but got 0"),
        ({"fractions": [5, 120]}, "but got 120"),
        ({"fractions": []}, "but got none"),
        ({"drop_overlap": "test"}, "Expected --drop-overlap train"),
        ({"mode": "prob"}, "'mode'"),
        ({"draws": 0}, "'draws'"),
        ({"margin": 0}, "'margin'"),
        ({"budget": {"step": 5}}, "budget.step.*Did you mean 'steps'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make_plan, changes, said):
    with pytest.raises(SettingsError, match=said):
        make_plan(**changes)


def test_the_test_part_is_no_larger_than_what_pretraining_kept_back(here, run, make_run, tmp_path):
    other = make_run(tmp_path / "other", here, method="simclr")
    text = (other / "settings.yaml").read_text().replace("holdout: 0.3", "holdout: 0.1")
    (other / "settings.yaml").write_text(text)
    assert plan.resolve_holdout(open_arms([run, other], "last")) == 0.1
    (other / "settings.yaml").write_text(text.replace("holdout: 0.1", "holdout: 0"))
    assert plan.resolve_holdout(open_arms([other], "last")) == plan.HOLDOUT


def test_manifests_of_the_same_name_are_told_apart(make_cohort, tmp_path):
    first, second = (make_cohort(tmp_path / name, patients=2) for name in ("lyon", "turin"))
    assert list(plan.open_ood([first, second])) == ["cohort", "turin-cohort"]
    with pytest.raises(SettingsError, match="given twice"):
        plan.open_ood([first, first])


def test_going_on_without_a_name_finds_the_newest_unfinished_sweep_alike(make_plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no unfinished sweep"):
        plan.choose_folder(make_plan(), None, resume=True)
    for name, draws in (("alike", 2), ("other", 3), ("done", 2)):
        plan.write_settings(make_plan(draws=draws), plan.SWEEPS / name)
    (plan.SWEEPS / "done" / "results.json").write_text("{}")
    assert plan.choose_folder(make_plan(), None, resume=True).name == "alike"


def test_going_on_with_other_settings_names_the_first_that_differs(make_plan, tmp_path):
    plan.write_settings(make_plan(), tmp_path)
    assert plan.choose_folder(make_plan(), tmp_path, resume=True) == tmp_path
    with pytest.raises(SettingsError, match="has draws = 2, now it is 4"):
        plan.choose_folder(make_plan(draws=4), tmp_path, resume=True)


def test_each_place_is_given_the_words_it_has(make_cohort, tmp_path):
    def cohort(name: str, negative: str) -> Manifest:
        path = make_cohort(tmp_path / name, patients=4)
        loaded = Manifest.load(path)
        words = loaded.table["finding"].replace({"no": negative, "yes": "DME"})
        return loaded.with_table(loaded.table.assign(finding=words))

    places = [cohort("a", "NO"), cohort("b", "NORMAL")]
    specs = words_for(places, LabelSpec("finding", None, ["NO", "normal"]))
    assert [spec.negative for spec in specs] == [["NO"], ["normal"]]
    unknown = words_for(places, LabelSpec("finding", None, ["NO", "NORMAL", "nope"]))
    assert [spec.negative for spec in unknown] == [["NO", "nope"], ["NORMAL"]]
    with pytest.raises(DataError, match="None of the negative words NO occurs"):
        words_for(places, LabelSpec("finding", None, ["NO"]))


def test_the_budget_is_smaller_without_a_gpu_and_can_be_changed():
    small = plan.resolve_budget({"learning_rates": [1e-4]}, "cpu")
    assert small.learning_rates == (1e-4,)
    assert small.model_dump().items() >= {**plan.ON_CPU, "learning_rates": (1e-4,)}.items()
    with pytest.raises(SettingsError, match=r"budget\.batch_size"):
        plan.resolve_budget({"batch_size": 1}, "cpu")
