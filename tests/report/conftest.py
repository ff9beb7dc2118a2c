"""Builders of run and sweep folders as `medssl pretrain` and `medssl sweep` leave them."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from medssl import files, settings

Builder = Callable[..., Path]
ARMS = ("mae", "simclr", "scratch", "random", "pixels", "shortcut")
FRACTIONS = (1.0, 5.0, 10.0, 33.0, 100.0)


@pytest.fixture(scope="session")
def make_run() -> Builder:
    """`make_run(folder, method="mae", labels=True, finished=True, synthetic=True, text="")`."""
    return write_run


@pytest.fixture(scope="session")
def make_sweep() -> Builder:
    """`make_sweep(folder, arms=ARMS, fractions=FRACTIONS, synthetic=True, text="", dots=500)`."""
    return write_sweep


def write_run(
    folder: Path,
    *,
    method: str = "mae",
    labels: bool = True,
    finished: bool = True,
    synthetic: bool = True,
    text: str = "",
    images: np.ndarray | None = None,
) -> Path:
    """Write a run folder; `text` is added to every foreign string."""
    folder.mkdir(parents=True)
    chosen = {
        "modality": "oct",
        "method": method,
        "backbone": "vit_nano",
        method: {"mask_ratio": 0.85, "note": "free" + text},
        "vit": {"patch_size": 8},
        "data": {"manifest": None, "label": "drusen" + text, "positive": None, "image_size": 96, "holdout": 0.3},
        "train": {"epochs": 30, "batch_size": 64, "learning_rate": 0.0006, "seed": 0, "precision": "fp32"},
    }
    files.write_text(folder / "settings.yaml", settings.dump_yaml(chosen))
    files.write_json(folder / "choices.json", _choices(text))
    files.write_json(folder / "provenance.json", _provenance(method, synthetic, finished, text))
    _write_metrics(folder / "metrics.jsonl", labels, 30 if finished else 12, text)
    patients = [f"lab-a/patient-{i // 4}{text}" for i in range(960)]
    ids = [f"{i:016x}" for i in range(960)]
    pd.DataFrame({"sample_id": ids, "patient_key": patients, "pixel_hash": ids}).to_parquet(
        folder / "pretrained_on.parquet", index=False
    )
    if finished:
        (folder / "backbone").mkdir()
        files.write_json(folder / "backbone" / "config.json", {"name": "vit_nano"})
        save_file(_samples(method, images), folder / "samples.safetensors")
    return folder


def _choices(text: str) -> dict[str, list[object]]:
    return {
        "backbone": ["vit_nano", "Two CPU cores: a ViT of 128 wide and 6 deep takes 25 minutes" + text],
        "mae.mask_ratio": [0.85, "RETFound for OCT (Zhou et al., Nature 2023): B-scans are redundant"],
        "data.image_size": [96, "The median B-scan has 496 rows; smaller keeps a step below 0.5 s"],
        "train.batch_size": [64, "Largest power of two below an eighth of 960 images"],
        "train.seed": [0, "default of training"],
        "train.learning_rate": [0.0006, "Base rate 1.5e-4 scaled linearly with the batch (He et al., 2022)"],
    }


def _provenance(method: str, synthetic: bool, finished: bool, text: str) -> dict[str, object]:
    return {
        "version": "0.1.0",
        "packages": {"torch": "2.13.0", "monai": "1.6.1", "numpy": "2.4.6" + text},
        "device": "cpu, 2 threads" + text,
        "threads": 2,
        "manifest": {"name": "built-in oct cohort" + text, "hash": "9f2c51d07a3be846", "rows": 1400, "used": 960},
        "synthetic": synthetic,
        "parent": None,
        "stages": [{"method": method, "modality": "oct" + text, "data": "device-a", "images": 960, "steps": 450}],
        "started": "2026-01-31T10:15:00Z",
        "finished": "2026-01-31T10:40:30Z" if finished else None,
        "seconds": 1530.4 if finished else None,
        "remarks": [
            "12 images have no pixel spacing; nothing that needs millimetres was used on them" + text,
            "3 images could not be read and were left out",
        ],
    }


def _write_metrics(path: Path, labels: bool, epochs: int, text: str) -> None:
    chance = np.random.default_rng(0)
    before = {"kind": "monitor", "step": 0, "epoch": 0, "knn_auroc": 0.512 if labels else None, "knn_n": 640 * labels}
    files.append_json_line(path, before | {"feature_std": 0.3, "effective_rank": 8.0})
    for step in range(5, epochs * 15 + 1, 5):
        epoch = (step - 1) // 15
        loss = 0.42 + 0.55 * math.exp(-step / 110) + 0.02 * float(chance.standard_normal())
        line = {"kind": "step", "step": step, "epoch": epoch, "loss": loss, "lr": 6e-4, "images_per_second": 84.3}
        files.append_json_line(path, line | {"data_wait_share": 0.03, "seconds": step * 3.4})
        if step % 45 == 0:
            share = step / 450
            knn = 0.58 + 0.26 * (1 - math.exp(-3 * share)) if labels else None
            monitor = {"kind": "monitor", "step": step, "epoch": epoch, "knn_auroc": knn, "knn_n": 640 if labels else 0}
            spread = {"feature_std": 0.31 + 0.4 * share, "effective_rank": 9.0 + 30 * share**0.5}
            files.append_json_line(path, monitor | spread)
    files.append_json_line(
        path, {"kind": "remark", "step": 150, "text": "The loss has moved by less than 1 % over 3 epochs" + text}
    )


def _samples(method: str, images: np.ndarray | None) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(1)
    if images is None:
        rows = np.linspace(0, 3, 96)[:, None] + np.linspace(0, 1, 96)[None, :]
        images = np.stack([np.sin(3 * rows + i) for i in range(4)])[:, None].astype(np.float32)
    if method != "mae":
        return {"original": images, "view_0": images * 0.8, "view_1": np.flip(images, -1) * 1.2}
    n, _, height, width = images.shape
    hidden = np.kron(chance.random((n, height // 8, width // 8)) < 0.85, np.ones((8, 8)))[:, None] > 0
    blurred = (images + np.roll(images, 2, 2) + np.roll(images, -2, 2) + np.roll(images, 3, 3)) / 4
    return {
        "original": images,
        "masked": np.where(hidden, np.nan, images).astype(np.float32),
        "reconstruction": np.where(hidden, blurred, images).astype(np.float32),
    }


def write_sweep(
    folder: Path,
    *,
    arms: tuple[str, ...] = ARMS,
    fractions: tuple[float, ...] = FRACTIONS,
    synthetic: bool = True,
    text: str = "",
    dots: int = 500,
) -> Path:
    """Write a sweep folder; `text` is added to every foreign string."""
    (folder / "cells").mkdir(parents=True)
    sets = [("id", "id"), ("clinic-b" + text, "ood")]
    names = [arm + text if arm in ("mae", "simclr") else arm for arm in arms]
    results = {
        "label": {"column": "drusen" + text, "positive": "yes" + text, "negative": "no"},
        "validation": "inside the fraction: grouped cross-validation" + text,
        "primary": {"a": names[0], "b": "scratch", "fraction": 5.0, "metric": "auroc", "margin": 0.02},
        "counts": _counts(sets, fractions),
        "scores": [_score(*s, arm, f, m) for s in sets for arm in names for f in fractions for m in _METRICS],
        "paired": _pairs(sets, names, fractions),
        "equivalence": _equivalences(sets, names, text),
        "verdicts": _verdicts(sets, names, text),
        "remarks": ["Site clinic-b has no laterality" + text, "2 of 300 resamples had one class only"],
        "synthetic": synthetic,
        "arms": {arm: {"runs": ["oct-" + arm], "checkpoint": "last"} for arm in names},
        "seconds": 412.0,
    }
    files.write_json(folder / "results.json", results)
    files.write_text(folder / "settings.yaml", settings.dump_yaml({"fractions": list(fractions), "draws": 3}))
    _embeddings([name for name in names if name not in ("scratch", "pixels", "shortcut")], sets, dots, text).to_parquet(
        folder / "embeddings.parquet", index=False
    )
    return folder


_METRICS = ("auroc", "average_precision", "balanced_accuracy", "brier", "ece")
_PLATEAU = {"mae": 0.95, "simclr": 0.92, "scratch": 0.93, "random": 0.72, "pixels": 0.63, "shortcut": 0.53}


def _auroc(arm: str, domain: str, fraction: float) -> float:
    kind = next((name for name in _PLATEAU if arm.startswith(name)), "random")
    slow = {"mae": 4.0, "simclr": 7.0, "scratch": 25.0}.get(kind, 8.0)
    top = _PLATEAU[kind] - (0.06 if domain == "ood" and kind != "shortcut" else 0.0)
    return 0.5 + (top - 0.5) * (1 - math.exp(-((fraction / slow) ** 0.5) - 0.25))


def _score(test_set: str, domain: str, arm: str, fraction: float, metric: str) -> dict[str, object]:
    value: float | None = _auroc(arm, domain, fraction)
    if metric in ("brier", "ece"):
        value = 0.3 - 0.2 * value
    half = 0.06 / fraction**0.25
    row = {"mode": "probe", "test_set": test_set, "domain": domain, "arm": arm, "fraction": fraction, "metric": metric}
    row |= {"value": value, "low": value - half, "high": value + half / 2, "resamples": 300, "undefined": 0}
    row |= {"n_images": 412, "n_patients": 103, "n_positive": 140, "flag": ""}
    if (arm, fraction, metric) == ("pixels", 1.0, "auroc"):
        row |= {"value": None, "low": None, "high": None, "undefined": 300, "flag": "one class only"}
    return row


def _pairs(sets: list[tuple[str, str]], names: list[str], fractions: tuple[float, ...]) -> list[dict[str, object]]:
    result = []
    for test_set, domain in sets:
        for fraction in fractions:
            for a in names:
                for b in names:
                    if a != b and b in ("scratch", "shortcut") and a != "scratch":
                        gain = _auroc(a, domain, fraction) - _auroc(b, domain, fraction)
                        row = {"mode": "probe", "test_set": test_set, "domain": domain, "a": a, "b": b, "p": 0.012}
                        row |= {"metric": "auroc", "p_holm": None, "primary": a == names[0] and fraction == 5}
                        result.append(
                            row | {"fraction": fraction, "difference": gain, "low": gain - 0.03, "high": gain + 0.028}
                        )
    return result


def _equivalences(sets: list[tuple[str, str]], names: list[str], text: str) -> list[dict[str, object]]:
    values = {
        "mae": (9.3, 4.1, 22.0, "9.3 %", "4.1 %", "22 %"),
        "simclr": (None, 31.0, None, "not reached", "31 %", "not reached"),
    }
    never = (None, None, None, "not reached", "not reached", "not reached")
    result = []
    for test_set, domain in sets:
        for arm in names:
            if arm != "scratch":
                value, low, high, words, least, most = values.get(arm.removesuffix(text), never)
                row = {"mode": "probe", "arm": arm, "test_set": test_set, "domain": domain, "value": value}
                row |= {"low": low, "high": high, "text": words + text, "low_text": least, "high_text": most}
                result.append(row | {"interval": least if least == most else f"{least} to {most}"})
    return result


def _verdicts(sets: list[tuple[str, str]], names: list[str], text: str) -> list[dict[str, object]]:
    words = ["helps", "undecided", "no worthwhile gain", "harms"]
    sentences = [
        "AUROC is higher by 0.141 (95 % interval 0.110 to 0.168); the whole interval lies above 0.02.",
        "The interval from -0.01 to 0.05 includes no gain and a gain that matters; about 4 times as many test "
        "patients would be needed.",
        "The upper limit, 0.012, lies below the smallest gain that matters, 0.02.",
        "The whole interval, -0.06 to -0.02, lies below zero.",
    ]
    pairs = [(s, a) for s in sets for a in names[:2]]
    return [
        {
            "mode": "probe",
            "test_set": s[0],
            "domain": s[1],
            "a": a,
            "b": "scratch",
            "fraction": 5.0,
            "word": words[i % 4],
        }
        | {"sentence": sentences[i % 4] + text, "primary": i == 0}
        for i, (s, a) in enumerate(pairs)
    ]


def _counts(sets: list[tuple[str, str]], fractions: tuple[float, ...]) -> list[dict[str, object]]:
    test = [{"set": f"test: {name}", "patients": 103, "images": 412, "positive images": 140} for name, _ in sets]
    train = [
        {"set": "training", "fraction": f, "draw": draw}
        | {"patients": round(2.4 * f), "images": round(9.6 * f) + draw, "positive images": round(3.1 * f) + draw}
        for f in fractions
        for draw in range(3)
    ]
    return test + train


def _embeddings(names: list[str], sets: list[tuple[str, str]], dots: int, text: str) -> pd.DataFrame:
    chance = np.random.default_rng(2)
    parts = []
    for arm in names:
        label = (chance.random(dots) < 0.34).astype(float)
        ood = chance.random(dots) < 0.5
        part = pd.DataFrame({"arm": arm, "sample_id": [f"{i:016x}" for i in range(dots)]})
        part["x"] = chance.standard_normal(dots) + 2.2 * label
        part["y"] = chance.standard_normal(dots) + 1.1 * ood
        part["label"], part["site"] = label, np.where(ood, "clinic-b" + text, "lab-a")
        part["test_set"] = np.where(ood, sets[1][0], "id")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
