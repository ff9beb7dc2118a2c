import pandas as pd
import pytest

from medssl.errors import DataError
from medssl.evaluation import overlap
from medssl.evaluation.arms import Pretrained
from medssl.training import runs


def images(*rows: tuple[str, str]) -> pd.DataFrame:
    patients, pixels = zip(*rows)
    return pd.DataFrame({"sample_id": [f"id-{h}" for h in pixels], "patient_key": patients, "pixel_hash": pixels})


TEST = images(("site/1", "aa"), ("site/2", "bb"))


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (images(("site/1", "zz"), ("site/9", "yy")), r"1 patient \(site/1\) and 0 images"),
        (images(("site/8", "bb")), r"no patients and 1 image with equal pixels \(test samples id-bb\)"),
    ],
)
def test_training_on_a_test_patient_or_image_is_an_error_that_names_it(pool, said):
    with pytest.raises(DataError, match=said) as caught:
        overlap.check_training(pool, {"id": TEST})
    assert "--drop-overlap train" in str(caught.value)


def test_nothing_shared_is_fine():
    overlap.check_training(images(("site/3", "cc")), {"id": TEST})
    overlap.check_tests({"id": TEST, "other": images(("site/3", "cc"))})


def test_shares_finds_rows_by_patient_and_by_pixels():
    pool = images(("site/1", "zz"), ("site/3", "bb"), ("site/3", "cc"), ("2", "dd"))
    assert overlap.shares(pool, [TEST]).tolist() == [True, True, False, False]


def test_test_sets_that_share_patients_are_refused():
    with pytest.raises(DataError, match="'id' and 'other' share 1 patient "):
        overlap.check_tests({"id": TEST, "other": images(("site/2", "cc"))})


def test_pretraining_on_a_test_patient_names_the_run():
    class Run:
        name, folder = "run-7", "runs/run-7"

        def pretrained_on(self) -> pd.DataFrame:
            return images((None, "cc"), ("site/2", "ee"))  # type: ignore[arg-type]

    arm = type("Arm", (), {"runs": (Run(),)})
    with pytest.raises(DataError, match=r"'run-7' was pretrained on images of the test set 'ood-x'.*site/2") as caught:
        overlap.check_pretraining([arm], {"id": images(("q", "q")), "ood-x": TEST})  # type: ignore[list-item]
    assert "Pretrain again" in str(caught.value)


def keyed(table: pd.DataFrame, *keys: str | None) -> pd.DataFrame:
    return table.assign(id_key=list(keys))


def test_patients_under_one_key_are_compared_and_nothing_is_in_doubt():
    pool = keyed(images(("site/3", "cc"), ("site/4", "dd")), "ab12", "ab12+dates")  # one key; dates do not matter
    assert overlap.check_training(pool, {"id": keyed(TEST, "ab12", "ab12")}) == []
    with pytest.raises(DataError, match="1 patient"):
        overlap.check_training(keyed(images(("site/1", "zz")), "ab12"), {"id": keyed(TEST, "ab12", "ab12")})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("ab12", "ab12"), "named in 2 ways (as in the files, by the key ab12)"),
        (("once-1", "cd34"), "named in 3 ways (as in the files, by the key cd34, by the key once-1)"),
    ],
)
def test_patients_under_different_keys_are_in_doubt_and_pixels_are_compared_all_the_same(keys, said):
    other = keyed(TEST, *keys)
    told = overlap.check_tests({"id": images(("site/3", "cc")), "far": other})
    assert len(told) == 1
    assert f"Whether the test sets 'id' and 'far' share patients cannot be told: patients are {said}" in told[0]
    with pytest.raises(DataError, match="1 image with equal pixels"):
        overlap.check_tests({"id": images(("site/3", "bb")), "far": other})


def test_patients_that_pretraining_did_not_know_are_in_doubt():
    class Run:
        name, folder = "run-7", "runs/run-7"

        def pretrained_on(self) -> pd.DataFrame:
            return images((None, "cc"), ("site/9", "ee"))  # type: ignore[arg-type]

    arm = type("Arm", (), {"runs": (Run(),)})
    told = overlap.check_pretraining([arm], {"id": TEST})  # type: ignore[list-item]
    assert told == [
        "Whether the images that 'run-7' saw and the test set 'id' share patients cannot be told: the patients of 1 of "
        "the images that 'run-7' saw are unknown. They share no image with equal pixels"
    ]


def test_a_run_has_seen_what_all_stages_before_it_saw(tmp_path):
    for number, name in enumerate(("first", "second", "third")):
        (tmp_path / name).mkdir()
        images((f"site/{number}", f"pixels-{number}")).to_parquet(tmp_path / name / runs.IMAGES)
        if number:
            runs.keep_images_seen_before(tmp_path / name, tmp_path / ("first", "second")[number - 1])
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    seen = runs.images_seen(tmp_path / "third")
    assert sorted(seen["patient_key"]) == ["site/0", "site/1", "site/2"]
    run = Pretrained("third", tmp_path / "third", tmp_path, {}, "hash")
    arm = type("Arm", (), {"runs": (run,)})
    with pytest.raises(DataError, match=r"'third' was pretrained on images of the test set 'id'.*site/0"):
        overlap.check_pretraining([arm], {"id": images(("site/0", "other"))})  # type: ignore[list-item]
    with pytest.raises(DataError, match="does not say which images"):
        runs.keep_images_seen_before(tmp_path / "third", tmp_path / "gone")
