"""Errors are sentences with an exit code."""

from medssl.errors import DataError, MedsslError, SettingsError, StoppedError, StorageError, nearest, unknown_name


def test_text_has_what_where_and_fix():
    error = DataError("Row 7 has no patient", where="manifest.csv", fix="Fill in patient_id")
    assert str(error) == "Row 7 has no patient (manifest.csv). Fill in patient_id."


def test_exit_codes():
    codes = {kind: kind.exit_code for kind in (MedsslError, SettingsError, DataError, StorageError, StoppedError)}
    assert list(codes.values()) == [1, 2, 65, 74, 75]


def test_unknown_name_gives_the_nearest_and_all():
    text = str(unknown_name("method", "mea", ["simclr", "mae"]))
    assert text == "Unknown method 'mea'. Did you mean 'mae'? Known: mae, simclr."


def test_no_guess_is_better_than_a_wrong_one():
    assert nearest("qqqq", ["mae", "simclr"]) is None
    assert "Did you mean" not in str(unknown_name("method", "qqqq", ["mae"]))
