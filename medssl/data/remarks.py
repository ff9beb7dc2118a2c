"""Sentences on a scanned set as a whole: what a person should know before splitting or training on it."""

from medssl.data.columns import typed
from medssl.data.grouping import STACKED
from medssl.data.manifest import Manifest
from medssl.data.readers.parts.dicom_rows import MOSAIC
from medssl.data.splits import check_given_split
from medssl.errors import DataError


def unstacked(manifest: Manifest) -> list[str]:
    """Say that slices which belong together are images of their own here."""
    table = manifest.usable().table
    sheets = table["remarks"].str.contains(MOSAIC, regex=False, na=False)
    slices = table[(table["ndim"] == 2) & table["frame"].isna() & table["modality"].isin(STACKED) & ~sheets]
    counts = slices.groupby("series_id").size()
    series = counts[counts > 1]
    if not len(series):
        return []
    return [f"{int(series.sum())} slices of {len(series)} DICOM series are images of their own, not volumes"]


def several_sites(manifest: Manifest) -> list[str]:
    """Point at patient ids that occur at more than one site: another person, or an institution spelt in two ways."""
    table = manifest.table
    known = table[table["patient_id"].notna() & table["site"].notna()]
    sites = known.groupby("patient_id")["site"].nunique()
    several = sites[sites > 1]
    if not len(several):
        return []
    return [
        f"{len(several)} patient ids, such as {several.index[0]}, occur at more than one site and count as different "
        "people; give --site if they are the same"
    ]


def leaking_split(manifest: Manifest) -> list[str]:
    """Say that the given split repeats a patient; using it is refused later."""
    table = manifest.usable().table
    try:
        check_given_split(table[table["patient_id"].notna()])
        return []
    except DataError as error:
        return [error.what]


def with_patients(manifest: Manifest, image_is_patient: bool) -> Manifest:
    """Say how many images have no patient, or take each of them as a patient of its own if that was asked for."""
    table = manifest.table
    unknown = table["patient_id"].isna() & (table["status"] == "ok")
    if not unknown.any():
        return manifest
    count = f"{int(unknown.sum())} of {int((table['status'] == 'ok').sum())} images"
    if not image_is_patient:
        return manifest.with_remarks(f"{count} have no patient_id: they are left out wherever patients are kept apart")
    patient = table["patient_id"].where(~unknown, table["sample_id"])
    table = typed(table.assign(patient_id=patient))
    return manifest.with_table(table).with_remarks(f"{count} had no patient_id and are taken as one patient each")
