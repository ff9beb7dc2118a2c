"""What the page of a sweep says, top down: the verdict, how few labels are enough, and what stands behind it."""

from pathlib import Path
from typing import Any

from medssl.report import answers, over_time, score_tables, shifts, sweep_figures
from medssl.report.sweep_folder import Row, Sweep, set_phrase
from medssl.report.words import shortened

_LONGEST = 60


def context(path: Path) -> dict[str, Any]:
    """Return everything the template `sweep.html.j2` asks for."""
    sweep = Sweep.read(path)
    label = sweep.results.get("label") or {}
    return {
        "sweep": sweep,
        "title": f"How few labels are enough for {shortened(str(label.get('column', 'this label')), _LONGEST)}?",
        "synthetic": bool(sweep.results.get("synthetic")),
        "label": label,
        "metric": score_tables.metric_title(sweep.main),
        "primary": answers.verdicts(sweep, primary=True),
        "elsewhere": answers.elsewhere(sweep),
        "others": answers.verdicts(sweep, primary=False),
        "answers": answers.answers(sweep),
        "panels": sweep_figures.panels(sweep),
        "tables": score_tables.tables(sweep),
        "over_time": over_time.section(sweep),
        "forests": sweep_figures.forests(sweep),
        "paired": score_tables.pairs(sweep),
        "shifts": shifts.section(sweep),
        "maps": sweep_figures.maps(sweep),
        "no_map": [arm for arm in sweep.looks if arm not in sweep_figures.mapped(sweep)],
        "arms": arm_list(sweep),
        "counts": score_tables.counts(sweep.results.get("counts") or []),
        "remarks": [str(text) for text in sweep.results.get("remarks") or []],
        "test_sets": [set_phrase(*pair) for pair in sweep.test_sets],
        "validation": str(sweep.results.get("validation") or "").partition(":")[0],
    }


def arm_list(sweep: Sweep) -> list[Row]:
    """Return what each arm is: its look and a sentence or the mapping that the sweep kept of it."""
    kept = sweep.results.get("arms") or {}
    return [{"look": look, "about": kept.get(name)} for name, look in sweep.looks.items()]
