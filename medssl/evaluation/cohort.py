"""A cohort: the labelled images of one manifest, packed as every arm wants to see them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from medssl.data.labels import BinaryLabel, binary_label, fold
from medssl.data.manifest import Manifest
from medssl.data.splits import patient_keys, with_patients_known
from medssl.data.store import Store
from medssl.errors import DataError
from medssl.evaluation.arms import Recipe
from medssl.modalities.parts import own
from medssl.modalities.parts.modality import Modality
from medssl.modalities.parts.storing import stored
from medssl.transfer.examples import Examples

Progress = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class LabelSpec:
    """Which column is the label, and which of its words count as positive and negative."""

    column: str
    positive: list[str] | None = None
    negative: list[str] | None = None


@dataclass(frozen=True)
class Cohort:
    """Labelled images with a patient.

    Attributes:
        name: "id", or the name of the out-of-distribution manifest.
        domain: "id", "ood", "own" or "shift".
        table: One row an image: the manifest's columns, `target` (0 or 1), `patient_key`, `pixel_hash`.
        stores: For each recipe the packed images, and where each row of the table lies in them.
        remarks: Sentences on what was left out.
    """

    name: str
    domain: str
    table: pd.DataFrame
    stores: dict[Recipe, tuple[Store, np.ndarray]]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def take(self, index: np.ndarray) -> "Cohort":
        """Return the images at those places."""
        stores = {recipe: (store, rows[index]) for recipe, (store, rows) in self.stores.items()}
        return replace(self, table=self.table.iloc[index].reset_index(drop=True), stores=stores)

    def examples(self, recipe: Recipe) -> Examples:
        """Return the images as an arm of that recipe sees them."""
        store, rows = self.stores[recipe]
        return Examples(
            store=store,
            rows=rows,
            patients=self.table["patient_key"].to_numpy(dtype=object),
            labels=self.table["target"].to_numpy(float),
            modality=modality_of(recipe),
        )


def modality_of(recipe: Recipe) -> Modality:
    """Return the modality of a recipe."""
    modality = own.named(recipe.modality, json.loads(recipe.own) if recipe.own else None)
    return modality.reading(json.loads(recipe.transforms), voi_lut=recipe.voi_lut)


def labelled(manifest: Manifest, spec: LabelSpec) -> tuple[Manifest, BinaryLabel]:
    """Return the usable rows whose label is known, with a column `target`, and the words it came from.

    Raises:
        SettingsError: There is no such column or word, or the column has more than two words and nobody chose.
        DataError: The column has one class.
    """
    usable = manifest.usable()
    label = binary_label(usable, spec.column, spec.positive, spec.negative)
    return usable.with_table(usable.table.assign(target=label.values)[~np.isnan(label.values)]), label


def words_for(manifests: Sequence[Manifest], spec: LabelSpec) -> list[LabelSpec]:
    """Return for each manifest the specification with those words only that occur in it.

    Places have words of their own: "NO" here and "NORMAL" there can both be given as negative. A word that occurs
    nowhere is left in the first, where it is refused by name.

    Raises:
        DataError: None of the words of a class occurs in a manifest that they are needed for.
    """
    present = [_words(manifest, spec.column) for manifest in manifests]
    result = []
    for place, manifest in enumerate(manifests):
        kept: dict[str, list[str] | None] = {}
        for side in ("positive", "negative"):
            given = getattr(spec, side)
            somewhere = [word for word in given or [] if any(fold(word) in words for words in present)]
            kept[side] = given and [w for w in given if fold(w) in present[place] or (not place and w not in somewhere)]
            if somewhere and not kept[side]:
                raise DataError(
                    f"None of the {side} words {', '.join(given)} occurs in the column '{spec.column}'",
                    where=manifest.name,
                    fix=f"Give its words too; there: {', '.join(sorted(present[place])) or 'none'}",
                )
        result.append(LabelSpec(spec.column, kept["positive"], kept["negative"]))
    return result


def with_words(spec: LabelSpec, label: BinaryLabel) -> LabelSpec:
    """Return the words of another manifest: its own where some were given, else those of the first."""
    if spec.positive is None and spec.negative is None:
        return replace(spec, positive=[label.positive_name], negative=[label.negative_name])
    return spec


def patients_of(manifest: Manifest) -> tuple[Manifest, list[str]]:
    """Return the rows whose patient is known, and a remark on those without.

    Raises:
        DataError: No row has a patient.
    """
    known, remarks = with_patients_known(manifest)
    patient_keys(known.table, manifest.name)
    return known, remarks


def _words(manifest: Manifest, column: str) -> set[str]:
    table = manifest.usable().table
    return {fold(str(word)) for word in table[column].dropna().unique()} if column in table.columns else set()


def gather(
    manifest: Manifest, chosen: pd.DataFrame, name: str, domain: str, recipes: Sequence[Recipe], progress: Progress
) -> Cohort:
    """Pack a manifest for every recipe and keep, of the chosen rows, what all of them could use.

    The whole manifest is packed, so that a pretraining on it and a sweep over it share one store.

    Args:
        manifest: The images.
        chosen: Some of its rows, with the column `target`.
        name: What the cohort is called.
        domain: "id" or "ood".
        recipes: How the arms see an image.
        progress: Told of the packing.

    Raises:
        DataError: A patient is unknown, or no chosen image could be used.
    """
    table = chosen.assign(patient_key=patient_keys(chosen))
    packed = {recipe: _packed(manifest, recipe, progress) for recipe in dict.fromkeys(recipes)}
    usable = set(table["sample_id"]).intersection(*(set(store.index["sample_id"]) for store in packed.values()))
    lost = table[~table["sample_id"].isin(usable)]["sample_id"].tolist()
    if not usable:
        raise DataError("No labelled image could be used", where=manifest.name, fix=_reason(packed, lost))
    remarks = [f"{len(lost)} of {len(table)} labelled images of '{manifest.name}' could not be used"]
    table = table[table["sample_id"].isin(usable)].reset_index(drop=True)
    stores = {recipe: (store, _places(store, table["sample_id"])) for recipe, store in packed.items()}
    store, rows = next(iter(stores.values()))
    table["pixel_hash"] = store.index["pixel_hash"].to_numpy(dtype=object)[rows]
    said = dict.fromkeys(f"'{manifest.name}': {text}" for store in packed.values() for text in store.remarks)
    return Cohort(name, domain, table, stores, (*((f"{remarks[0]}: {_reason(packed, lost)}",) if lost else ()), *said))


def _packed(manifest: Manifest, recipe: Recipe, progress: Progress) -> Store:
    return stored(manifest, modality_of(recipe), recipe.image_size, progress)


def _places(store: Store, sample_ids: pd.Series) -> np.ndarray:
    return pd.Index(store.index["sample_id"]).get_indexer(sample_ids)


def _reason(packed: dict[Recipe, Store], lost: list[str]) -> str:
    """Return why the first of the lost samples is not in a store."""
    reasons = {entry.sample_id: entry.reason for store in packed.values() for entry in store.left_out}
    return next((f"sample {sample}: {reasons[sample]}" for sample in lost if sample in reasons), "")
