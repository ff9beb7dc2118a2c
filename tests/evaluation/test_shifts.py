"""Acquisition shifts: graded, repeatable, marked as seen or not, and never mixed with the answers on real images."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medssl.errors import SettingsError
from medssl.evaluation import shifts
from medssl.evaluation.sweep import sweep
from medssl.modalities import oct


@pytest.fixture
def store() -> SimpleNamespace:
    generator = np.random.default_rng(0)
    row = np.linspace(0, 1, 64)
    pictures = [0.5 + 0.3 * np.outer(np.sin(9 * row + k), np.cos(7 * row)) for k in range(3)]
    pictures = np.clip(np.stack(pictures)[:, None] + 0.05 * generator.standard_normal((3, 1, 64, 64)), 0, 1)
    index = pd.DataFrame({"content": ["a", "b", "c"]})
    return SimpleNamespace(images=np.rint(pictures * 255).astype(np.uint8), index=index, levels=255)


@pytest.mark.parametrize("name", shifts.SHIFTS)
def test_a_shift_grows_with_its_severity_and_keeps_type_and_shape(store, name):
    distances = []
    for severity in shifts.SEVERITIES:
        shifted = shifts.Shifted(store, name, severity)
        assert (shifted.shape, shifted.dtype, len(shifted), shifted.ndim) == ((3, 1, 64, 64), np.uint8, 3, 4)
        images = shifted[np.array([0, 1, 2])]
        assert (images.shape, images.dtype) == ((3, 1, 64, 64), np.uint8)
        np.testing.assert_array_equal(images[1], shifted[1])
        distances.append(np.sqrt(np.mean((images.astype(float) - store.images) ** 2)))
    assert 1 < distances[0] < distances[1] < distances[2]


def test_noise_has_the_strength_it_says(store):
    store.images[:] = 128
    found = shifts.Shifted(store, "noise", 2)[0].astype(float) / 255
    assert found.std() == pytest.approx(0.08, rel=0.05)
    assert not np.array_equal(found, shifts.Shifted(store, "noise", 2)[1] / 255)


def test_gamma_bends_one_way_or_the_other_by_content(store):
    middle = [shifts.Shifted(store, "gamma", 3)[row].mean() - store.images[row].mean() for row in range(3)]
    store.index = pd.DataFrame({"content": [f"{k}" for k in range(3)]})
    middle += [shifts.Shifted(store, "gamma", 3)[row].mean() - store.images[row].mean() for row in range(3)]
    assert min(middle) < 0 < max(middle)


def test_blur_agrees_with_a_slow_sum(store):
    sigma = 3.0 * 64 / 224
    image = store.images[0, 0].astype(float) / 255
    reach = np.arange(-int(3 * sigma + 0.5), int(3 * sigma + 0.5) + 1)
    taps = np.exp(-0.5 * (reach / sigma) ** 2)
    taps /= taps.sum()
    expected = sum(
        a * b * image[np.clip(30 + i, 0, 63), np.clip(20 + j, 0, 63)]
        for a, i in zip(taps, reach)
        for b, j in zip(taps, reach)
    )
    assert shifts.Shifted(store, "blur", 2)[0][0, 30, 20] / 255 == pytest.approx(expected, abs=0.003)


def test_sixteen_bits_stay_sixteen_bits(store):
    wide = SimpleNamespace(images=store.images.astype(np.uint16) * 257, index=store.index, levels=65535)
    narrow = shifts.Shifted(store, "blur", 1)[0].astype(float)
    assert np.abs(shifts.Shifted(wide, "blur", 1)[0] / 257 - narrow).max() <= 0.5


def test_what_an_arm_was_shown_is_marked():
    weak, strong = (
        [name for name in shifts.SHIFTS if shifts.seen(name, oct.MODALITY, [s])] for s in ("weak", "strong")
    )
    assert weak == []
    assert strong == ["noise", "blur", "contrast", "gamma", "resolution"]
    none = oct.MODALITY.with_augment({"strong": {"blur": {"probability": 0}, "tone": {"gamma": (1, 1)}}})
    assert [name for name in shifts.SHIFTS if shifts.seen(name, none, ["strong"])] == ["noise", "contrast"]


def test_names_are_parted_from_manifests():
    assert shifts.split(["a.parquet", "shift:jpeg", "shift:blur"]) == (["blur", "jpeg"], ["a.parquet"])
    assert shifts.split(["shift:all"]) == (list(shifts.SHIFTS), [])
    with pytest.raises(SettingsError, match=r"Unknown shift 'blurr'.*'blur'"):
        shifts.split(["shift:blurr"])


def test_a_sweep_tests_every_arm_under_shifts_and_answers_as_without(arguments, finished, tmp_path):
    asked = {**arguments, "fractions": [100], "draws": 1, "ood": ["shift:blur", *arguments["ood"]]}
    done = sweep(**{**asked, "out": tmp_path / "shifted"})
    table = done.predictions
    assert set(table["test_set"]) == {"id", "elsewhere", "blur 1", "blur 2", "blur 3"}
    assert set(table["domain"][table["test_set"].str.startswith("blur")]) == {"shift"}
    assert set(table["patient_id"][table["domain"] == "shift"]) == set(table["patient_id"][table["test_set"] == "id"])
    assert {row["test_set"] for row in done.results["scores"]} == {"id", "elsewhere"}
    assert {row["test_set"] for row in done.results["verdicts"]} == {"id", "elsewhere"}
    assert not any("blur" in row["set"] for row in done.results["counts"])
    found = done.results["shifts"]
    assert {(row["arm"], row["severity"]) for row in found["curves"]} == {
        (arm, severity) for arm in ("mae", "scratch", "random", "pixels", "shortcut") for severity in range(4)
    }
    scores = table[table["arm"] == "pixels"].pivot_table(index="sample_id", columns="test_set", values="score")
    assert not np.allclose(scores["id"].dropna(), scores["blur 3"].dropna())
    before = finished.predictions.query("fraction == 100 and draw == 0")
    columns = ["test_set", "arm", "sample_id"]
    both = [t[t["domain"] != "shift"].set_index(columns)["score"].sort_index() for t in (before, table)]
    pd.testing.assert_series_equal(*both)
    assert finished.results["shifts"] is None
