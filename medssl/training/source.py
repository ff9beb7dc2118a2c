"""The images of a run: where they come from, and which of them pretraining may see.

Test patients are left out, so that a later sweep over the same manifest tests on people the network never saw; so is
every image of theirs under another name, found by patient and by pixel hash.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medssl.batch import Batch
from medssl.counting import counted, counted_of
from medssl.data import builtin, keys
from medssl.data.labels import binary_label
from medssl.data.manifest import Manifest
from medssl.data.scan import scan
from medssl.data.splits import held_out, known_patient_keys, with_patients_known
from medssl.data.store import Store
from medssl.errors import DataError, SettingsError
from medssl.training.recorder import Progress
from medssl.training.settings import DataSettings


@dataclass(frozen=True)
class Source:
    """Images to choose from.

    Attributes:
        manifest: The usable rows: those that meet the condition, and the test part.
        held: A boolean a row, true for the test part.
        label: The label column the online kNN looks at, or None.
        labels: A number a row, 1 for positive, 0 for negative, NaN where unknown.
        positive: The name of the positive class, or None.
        synthetic: Whether it is a built-in cohort.
        scanned: Whether a folder was scanned for this run.
        remarks: Sentences for people.
    """

    manifest: Manifest
    held: np.ndarray
    label: str | None
    labels: np.ndarray
    positive: str | None
    synthetic: bool
    scanned: bool
    remarks: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """How many images may be trained on, before their pixels were looked at."""
        return int((~self.held).sum())

    @property
    def patients_known(self) -> bool:
        """Whether the patient of every image that may be trained on is known, there are several, and one has two."""
        patients = known_patient_keys(self.manifest.table[~self.held])
        return all(patient is not None for patient in patients) and 1 < len(set(patients)) < len(patients)


def open_source(data: DataSettings, modality: str, progress: Progress | None = None) -> Source:
    """Find the images that the settings name.

    Raises:
        DataError: There is nothing readable, no image is left, or patients are unknown and a test part is wanted.
        SettingsError: The condition or the label cannot be used.
    """
    manifest, label, synthetic, scanned = _manifest(data, modality, progress)
    usable = manifest.usable()
    if not len(usable):
        raise DataError(
            f"None of the {len(manifest)} files is an image that can be read{_first_reason(manifest)}",
            where=data.manifest,
            fix="Look at the columns `status` and `reason` of `medssl scan`'s manifest",
        )
    gone = _gone(usable)
    given = (usable.table["split"] == "test").fillna(False).to_numpy(dtype=bool)
    usable, doubtful = with_patients_known(usable, keep=given) if data.holdout else (usable, [])
    held = _held(usable, data.holdout)
    chosen = usable.table["sample_id"].isin(usable.where(data.where).table["sample_id"]).to_numpy(dtype=bool)
    kept = usable.with_table(usable.table[chosen | held])
    held = held[chosen | held]
    if held.all():
        raise DataError(
            f"No image is left to train on: {len(usable)} are usable, {held.sum()} belong to the test part",
            where=manifest.name,
            fix="Widen data.where, or use all images with --set data.holdout=0",
        )
    if label is None and (data.positive or data.negative):
        raise SettingsError("Words of a label are given, but no label", where="data.label", fix="Add --label COLUMN")
    labels, positive = _labels(kept, label, data)
    known = set(labels[~held & np.isfinite(labels)])
    if data.label is not None and len(known) < 2:
        raise DataError(
            f"The label '{label}' has {len(known)} classes among the images to train on, and the kNN needs 2",
            where=manifest.name,
            fix="Leave out --label, or choose another column",
        )
    remarks = [builtin.SENTENCE] if synthetic else []
    remarks += [*([gone] if gone else []), *doubtful]
    verbs = "belongs to the test part and is left out", "belong to the test part and are left out"
    remarks += [counted_of(int(held.sum()), len(kept), "image", *verbs)] if held.any() else []
    return Source(kept, held, label, labels, positive, synthetic, scanned, (*manifest.remarks, *remarks))


def _manifest(data: DataSettings, modality: str, progress: Progress | None) -> tuple[Manifest, str | None, bool, bool]:
    """Return manifest, label column, whether it is built in, and whether it was scanned here."""
    if data.manifest is None:
        made = builtin.cohort(modality, progress=progress)
        return Manifest.load(made.manifest), data.label or made.label, True, False
    path = Path(data.manifest)
    if path.is_dir():
        return scanned(path, progress), data.label, builtin.is_builtin(path / "x"), True
    if not path.exists():
        raise DataError("There is no such file or folder", where=path, fix="Give a manifest or a folder of images")
    return Manifest.load(path), data.label, builtin.is_builtin(path), False


def scanned(folder: Path, progress: Progress | None = None) -> Manifest:
    """Return the manifest of a folder of images, with the key of this user, so that test patients stay the same."""
    key = keys.AS_THEY_ARE if builtin.is_builtin(folder / "x") else keys.of_this_user()
    return scan([folder], key=key, progress=progress)


def _gone(usable: Manifest) -> str:
    """Return a remark on the files that are not where the manifest says.

    Raises:
        DataError: None of them is.
    """
    paths = usable.table["path"].unique()
    missing = [usable.folder / path for path in paths if not (usable.folder / path).exists()]
    if len(missing) == len(paths):
        raise DataError(
            f"None of the {len(paths)} files of '{usable.name}' is there; the first: {missing[0]}",
            where=usable.folder,
            fix="Put them back, or scan the folder again where they are now",
        )
    return f"{counted_of(len(missing), len(paths), 'file', 'is', 'are')} not there" if missing else ""


def _held(usable: Manifest, share: float) -> np.ndarray:
    """Return the test part: rows of test patients, whether a split is given or drawn; nothing for a share of 0."""
    table = usable.table
    if not share:
        return np.zeros(len(table), dtype=bool)
    given = (table["split"] == "test").fillna(False).to_numpy(dtype=bool)
    unknown = table["patient_id"].isna().to_numpy(dtype=bool)
    if given.any():
        keys = known_patient_keys(table)
        return given | (np.isin(keys, keys[given]) & ~unknown)
    if unknown.any():
        first = ", ".join(table.loc[unknown, "path"].astype(str).iloc[:3])
        told = counted_of(int(unknown.sum()), len(table), "image", "has", "have")
        raise DataError(
            f"{told} no patient_id ({first}), so no test part can be set aside",
            where=usable.name,
            fix="Scan with a label table that has patient_id, or train on all images with --set data.holdout=0",
        )
    return held_out(usable, share)


def _labels(manifest: Manifest, label: str | None, data: DataSettings) -> tuple[np.ndarray, str | None]:
    if label is None:
        return np.full(len(manifest), np.nan), None
    found = binary_label(manifest, label, data.positive, data.negative)
    return np.asarray(found.values, dtype=float), found.positive_name


def _first_reason(manifest: Manifest) -> str:
    reasons = manifest.table["reason"].dropna()
    return f"; the first: {reasons.iloc[0]}" if len(reasons) else ""


@dataclass(frozen=True)
class Selection:
    """The stored images that are trained on.

    Attributes:
        rows: Places in the store.
        sample_id: One id a row.
        patients: Patient keys, None where unknown.
        pixel_hash: Hashes of the source pixels.
        labels: 1, 0, or NaN where unknown.
        remarks: Sentences for people.
        id_key: Fingerprints of the keys that patients are pseudonyms by, None where all are as in the files.
    """

    rows: np.ndarray
    sample_id: np.ndarray
    patients: np.ndarray
    pixel_hash: np.ndarray
    labels: np.ndarray
    remarks: tuple[str, ...]
    id_key: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def table(self) -> pd.DataFrame:
        """Return `pretrained_on.parquet`: what a sweep checks its test images against."""
        columns = {"sample_id": self.sample_id, "patient_key": self.patients, "pixel_hash": self.pixel_hash}
        columns |= {} if self.id_key is None else {"id_key": self.id_key}
        return pd.DataFrame(columns).astype(pd.StringDtype(na_value=np.nan))


def select(source: Source, index: pd.DataFrame) -> Selection:
    """Choose among stored images: not the test part, and nothing with the same pixels as an image of it.

    Args:
        source: The images and the test part.
        index: The store's index.

    Raises:
        DataError: Nothing is left.
    """
    by_id = pd.DataFrame({"held": source.held, "label": source.labels}, index=source.manifest.table["sample_id"])
    known = by_id.loc[index["sample_id"]]
    held = known["held"].to_numpy(dtype=bool)
    hashes = index["pixel_hash"].to_numpy(dtype=object)
    same = ~held & np.isin(hashes, hashes[held])
    rows = np.flatnonzero(~held & ~same)
    if not len(rows):
        raise DataError(
            f"No image is left to train on: {held.sum()} are test images and {same.sum()} have their pixels",
            where=source.manifest.name,
            fix="Use all images with --set data.holdout=0",
        )
    pixels = "with the pixels of a test image"
    told = counted(int(same.sum()), f"image {pixels} is left out", f"images {pixels} are left out")
    remarks = [told] if same.any() else []
    return Selection(
        rows,
        index["sample_id"].to_numpy(dtype=object)[rows],
        known_patient_keys(index)[rows],
        hashes[rows],
        known["label"].to_numpy(dtype=float)[rows],
        tuple(remarks),
        index["id_key"].to_numpy(dtype=object)[rows] if "id_key" in index and index["id_key"].notna().any() else None,
    )


def stored_batch(store: Store, rows: np.ndarray) -> Batch:
    """Return stored images at those places, in that order."""
    about = store.index.iloc[rows]
    names = about["sample_id"].tolist()
    return Batch(torch.from_numpy(store.images[rows]), names, [None] * len(names), about["content"].tolist())
