"""A sweep folder, read and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medssl import kept
from medssl.errors import DataError
from medssl.evaluation.predictions import OWN, place_of
from medssl.kept import NUMBER, TEXT
from medssl.report import arms
from medssl.report.words import known

Row = dict[str, Any]


def _needed(text: str, numbers: str, anything: str = "") -> dict[str, str]:
    kinds = {TEXT: text, NUMBER: numbers, kept.ANYTHING: anything}
    return {name: kind for kind, names in kinds.items() for name in names.split()}


_SCORE = _needed("mode test_set domain arm metric", "fraction value")
_PAIR = _needed("test_set domain a b", "fraction difference low high")
_EQUIVALENCE = _needed("arm test_set domain text", "value")
_VERDICT = _needed("test_set domain a b word sentence", "fraction")
_CURVE = _needed("mode arm shift", "fraction severity value low high", "seen")
_HEADLINE = _needed("mode arm", "fraction unchanged", "unseen unseen_shifts drop against")
_DOMAINS = {"id": "in distribution", "ood": "out of distribution", OWN: "with labels of its own"}


@dataclass(frozen=True)
class Sweep:
    """What a finished sweep left.

    Attributes:
        name: The folder's name.
        settings: Everything that was resolved.
        results: `results.json`, of which the next six are the checked lists.
        scores: One row a mode, test set, arm, fraction and metric.
        paired: Differences between two arms.
        equivalence: The fraction of labels at which an arm equals scratch with all of them.
        verdicts: Words by the stated rules.
        shift_curves: Values under acquisition shifts, empty where none was tested.
        shift_headline: Their means over what an arm has not seen.
        embeddings: Map coordinates, or None.
    """

    name: str
    settings: Row
    results: Row
    scores: list[Row]
    paired: list[Row]
    equivalence: list[Row]
    verdicts: list[Row]
    shift_curves: list[Row]
    shift_headline: list[Row]
    embeddings: pd.DataFrame | None

    @classmethod
    def read(cls, path: Path) -> "Sweep":
        """Read a sweep folder.

        Raises:
            DataError: A file is damaged, or a row lacks what a page needs.
        """
        where = path / "results.json"
        results = kept.mapping(where)
        if "scores" not in results:
            raise DataError("There are no scores in the results", where=where, fix="Compute them again with --anew")
        shifts = results.get("shifts")
        shifts = shifts if isinstance(shifts, dict) else {}
        return cls(
            name=path.resolve().name,
            settings=kept.mapping(path / "settings.yaml"),
            results=results,
            scores=kept.checked(results.get("scores"), "scores", _SCORE, where),
            paired=kept.checked(results.get("paired"), "paired", _PAIR, where),
            equivalence=kept.checked(results.get("equivalence"), "equivalence", _EQUIVALENCE, where),
            verdicts=kept.checked(results.get("verdicts"), "verdicts", _VERDICT, where),
            shift_curves=kept.checked(shifts.get("curves"), "curves", _CURVE, where),
            shift_headline=kept.checked(shifts.get("headline"), "headline", _HEADLINE, where),
            embeddings=kept.table(path / "embeddings.parquet"),
        )

    @property
    def test_sets(self) -> list[tuple[str, str]]:
        """(name, domain) of every test set, the in-distribution one first."""
        seen = dict.fromkeys((row["test_set"], row["domain"]) for row in self.scores)
        return sorted(seen, key=lambda pair: pair[1] != "id")

    @property
    def modes(self) -> list[str]:
        """The ways of transfer: probe, finetune."""
        return list(dict.fromkeys(row["mode"] for row in self.scores))

    @property
    def metrics(self) -> list[str]:
        """Every metric scored, the main one first."""
        return list(dict.fromkeys([self.main, *(row["metric"] for row in self.scores)]))

    @property
    def main(self) -> str:
        """The metric of figures, verdicts and label equivalence."""
        return str(self.primary.get("metric", "auroc"))

    @property
    def primary(self) -> Row:
        """The comparison that was fixed before the run."""
        primary = self.results.get("primary")
        return primary if isinstance(primary, dict) else {}

    @property
    def smallest_gain(self) -> float | None:
        """The smallest difference that matters, where it was stated."""
        gain = self.primary.get("margin", self.settings.get("margin"))
        return float(gain) if known(gain) else None

    @property
    def looks(self) -> dict[str, arms.Arm]:
        """How every arm is drawn."""
        names = [*(self.results.get("arms") or {}), *(row["arm"] for row in self.scores)]
        names += [row[side] for row in self.paired for side in ("a", "b")]
        names += [row["arm"] for row in self.equivalence]
        return arms.looks(list(dict.fromkeys(names)))


def set_title(test_set: str, domain: str) -> str:
    """Name a test set by its domain: `In distribution`, `Out of distribution: NAME`."""
    words = _DOMAINS.get(domain, str(domain)).capitalize()
    return words if test_set == domain else f"{words}: {place_of(test_set)}"


def set_phrase(test_set: str, domain: str) -> str:
    """Name a test set within a sentence: `in distribution`, `out of distribution (NAME)`."""
    words = _DOMAINS.get(domain, str(domain))
    return words if test_set == domain else f"{words} ({place_of(test_set)})"


def of_set(rows: list[Row], test_set: str, domain: str) -> list[Row]:
    """Return the rows of one test set."""
    return [row for row in rows if (row["test_set"], row["domain"]) == (test_set, domain)]
