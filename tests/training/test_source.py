"""What is known of the images that a run may be trained on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data.manifest import Manifest
from medssl.training.source import Source


@pytest.mark.parametrize(
    ("patients", "known"),
    [
        (["a", "a", "b", "test"], True),
        (["a", "b", "c", "test"], False),  # nobody has two images
        (["a", "a", None, "test"], False),
        (["a", "a", "a", "test"], False),  # nothing but kin, which SimCLR cannot contrast
    ],
)
def test_positives_of_a_patient_are_chosen_unasked_only_where_that_can_work(patients, known):
    table = pd.DataFrame({"patient_id": pd.array(patients, "string"), "site": pd.array([None] * 4, "string")})
    held = np.array([False, False, False, True])
    manifest = Manifest(table, Path(), "some")
    assert Source(manifest, held, None, np.full(4, np.nan), None, False, False).patients_known is known
