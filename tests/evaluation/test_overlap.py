import pandas as pd
import pytest

from medssl.errors import DataError
from medssl.evaluation import overlap


def images(*rows: tuple[str, str]) -> pd.DataFrame:
    patients, pixels = zip(*rows)
    return pd.DataFrame({"sample_id": [f"id-{h}" for h in pixels], "patient_key": patients, "pixel_hash": pixels})


TEST = images(("site/1", "aa"), ("site/2", "bb"))


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (images(("site/1", "zz"), ("site/9", "yy")), r"1 patient \(site/1\) and 0 images"),
        (images(("site/8", "bb")), r"no patients and 1 images with equal pixels \(test samples id-bb\)"),
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


@pytest.mark.parametrize(
    ("seen", "tested", "told"),
    [
        (["aa"], ["aa"], False),
        (["aa+dates"], ["aa"], False),
        (["aa", "bb"], ["bb"], False),
        (["aa"], ["bb"], True),
        ([None], ["bb"], True),
        ([None], [None], False),
        (None, [None], False),
        (None, ["bb"], True),
    ],
)
def test_pseudonyms_by_different_keys_are_said_to_be_incomparable(seen, tested, told):
    def table(marks):
        rows = images(*[(f"p{k}", f"h{k}") for k in range(len(marks or "1"))])
        return rows if marks is None else rows.assign(id_key=pd.array(marks, dtype="str"))

    run = type("Run", (), {"name": "run-7", "pretrained_on": lambda self: table(seen)})()
    arm = type("Arm", (), {"runs": (run,)})
    remarks = overlap.unlike_keys([arm], {"id": table(tested)})
    assert [("different keys" in remark, "1 of 1" in remark) for remark in remarks] == [(True, True)] * told
