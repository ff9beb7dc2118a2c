"""The learning curve over pretraining time: drawn where one method was tested at several times, and only there."""

from medssl import files
from medssl.report import over_time
from medssl.report.build import report
from medssl.report.sweep_folder import Sweep

ARMS = ("mae", "mae-1", "mae-4", "simclr", "scratch", "random", "pixels", "shortcut")


def with_minutes(folder, minutes):
    results = files.read_json(folder / "results.json")
    for name, values in minutes.items():
        about = {"method": name.partition("-")[0], "backbone": "vit_nano", "modality": "oct", "pretraining images": [9]}
        results["arms"][name] = {**about, "minutes of pretraining": values}
    files.write_json(folder / "results.json", results)
    return Sweep.read(folder)


def test_one_curve_a_method_over_the_mean_of_its_seeds(make_sweep, tmp_path):
    folder = make_sweep(tmp_path / "sweep", arms=ARMS)
    assert over_time.section(Sweep.read(folder)) is None
    sweep = with_minutes(folder, {"mae": [16, 20], "mae-1": [1, 3], "mae-4": [4, 4], "simclr": [5, 5]})
    assert over_time.families(sweep) == [[(2, "mae-1"), (4, "mae-4"), (18, "mae")]]
    page = report(folder).read_text()
    assert "Performance over pretraining time" in page
    assert "minutes of pretraining, log scale" in page


def test_arms_that_saw_other_images_are_no_part_of_the_curve(make_sweep, tmp_path):
    folder = make_sweep(tmp_path / "sweep", arms=ARMS)
    with_minutes(folder, {"mae": [16], "mae-1": [1], "mae-4": [4]})
    results = files.read_json(folder / "results.json")
    results["arms"]["mae"]["pretraining images"] = [90]
    files.write_json(folder / "results.json", results)
    assert over_time.families(Sweep.read(folder)) == []


def test_two_times_or_unknown_ones_are_no_curve(make_sweep, tmp_path):
    folder = make_sweep(tmp_path / "sweep", arms=ARMS)
    assert over_time.families(with_minutes(folder, {"mae": [16], "mae-1": [1], "mae-4": [16]})) == []
    assert over_time.families(with_minutes(folder, {"mae": [16], "mae-1": [None], "mae-4": [4]})) == []
    assert "over pretraining time" not in report(folder).read_text()
