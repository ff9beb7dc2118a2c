"""Nicknames: stable, telling people apart, and nowhere the name itself."""

import re

import pandas as pd
import pytest

from medssl.data.columns import typed
from medssl.data.masking import Names, nickname

UID = "1.2.840.113619.2.5.1762583153"


@pytest.fixture
def table() -> pd.DataFrame:
    return typed(
        pd.DataFrame(
            {
                "sample_id": ["a", "b"],
                "path": ["Smith_John/scan-17.dcm", "images/b.png"],
                "patient_id": ["Doe^Jane", "four words in one"],
                "series_id": [UID, None],
            }
        )
    )


def test_a_nickname_is_stable_short_and_of_its_kind() -> None:
    assert re.fullmatch("p…[0-9a-f]{4}", nickname("p", "Smith"))
    assert nickname("p", "Smith") == nickname("p", "Smith") != nickname("p", "Smyth")


def test_sentences_lose_every_identifier_and_keep_their_words(table: pd.DataFrame) -> None:
    names = Names(shown=False, table=table)
    said = names.text(
        f"Doe^Jane has 12 images in series '{UID}', four words in one too; scan-17.dcm. /home/Smith_John/x.dcm b.png"
    )
    for secret in ("Doe", "Jane", UID, "four words", "scan-17", "Smith", "home", "b.png"):
        assert secret not in said
    assert "has 12 images in series '" in said
    assert nickname("p", "Doe^Jane") in said


def test_a_uid_or_a_path_that_no_table_lists_is_masked(table: pd.DataFrame) -> None:
    said = Names(shown=False).text(f"see {UID} in C:\\Users\\smith\\x.dcm or ../smith/y.dcm")
    assert UID not in said
    assert "smith" not in said


def test_shown_is_shown(table: pd.DataFrame) -> None:
    names = Names(shown=True, table=table)
    assert names.text(f"Doe^Jane {UID}") == f"Doe^Jane {UID}"
    assert names.of("patient_id", "Doe^Jane") == "Doe^Jane"
