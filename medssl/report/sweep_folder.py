"""A sweep folder, read and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.report import arms, folder
from medssl.report.words import known

Row = dict[str, Any]

_SCORE = ("mode", "test_set", "domain", "arm", "fraction", "metric", "value")
_PAIR = ("test_set", "domain", "a", "b", "fraction", "difference", "low", "high")
_EQUIVALENCE = ("arm", "test_set", "domain", "value", "text")
_VERDICT = ("test_set", "domain", "a", "b", "fraction", "word", "sentence")
_CURVE = ("mode", "arm", "fraction", "shift", "severity", "value", "low", "high", "seen")
_HEADLINE = ("mode", "arm", "fraction", "unchanged", "unseen", "unseen_shifts", "drop", "against")
_DOMAINS = {"id": "in distribution", "ood": "out of distribution"}


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
        results = folder.mapping(where)
        shifts = results.get("shifts")
        shifts = shifts if isinstance(shifts, dict) else {}
        return cls(
            name=path.resolve().name,
            settings=folder.mapping(path / "settings.yaml"),
            results=results,
            scores=folder.rows(results, "scores", _SCORE, where),
            paired=folder.rows(results, "paired", _PAIR, where),
            equivalence=folder.rows(results, "equivalence", _EQUIVALENCE, where),
            verdicts=folder.rows(results, "verdicts", _VERDICT, where),
            shift_curves=folder.rows(shifts, "curves", _CURVE, where),
            shift_headline=folder.rows(shifts, "headline", _HEADLINE, where),
            embeddings=folder.table(path / "embeddings.parquet"),
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
    return words if test_set == domain else f"{words}: {test_set}"


def set_phrase(test_set: str, domain: str) -> str:
    """Name a test set within a sentence: `in distribution`, `out of distribution (NAME)`."""
    words = _DOMAINS.get(domain, str(domain))
    return words if test_set == domain else f"{words} ({test_set})"


def of_set(rows: list[Row], test_set: str, domain: str) -> list[Row]:
    """Return the rows of one test set."""
    return [row for row in rows if (row["test_set"], row["domain"]) == (test_set, domain)]
