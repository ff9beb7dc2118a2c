"""The way of a user's modality: from its file into a run, which then works without the file."""

import numpy as np
import pytest
from PIL import Image as Pil

from medssl import api
from medssl.data.keys import AS_THEY_ARE
from medssl.data.scan import scan
from medssl.errors import SettingsError
from medssl.evaluation.arms import open_run
from medssl.evaluation.cohort import modality_of
from medssl.settings import load_yaml

MINE = "like: oct\nsize: 32\nreading: {percentiles: [1, 99]}\naugment: {geometry: {crop_area: [0.8, 1]}}\n"
MINE += "recommends: {mae.mask_ratio: 0.5}\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSSL_CACHE_DIR", str(tmp_path / "cache"))
    folder, random = tmp_path / "archive", np.random.default_rng(0)
    folder.mkdir()
    lines = ["file,patient_id,finding"]
    for k in range(40):
        picture = random.integers(0, 4096, (40, 40)).astype(np.uint16)
        picture[10 : 20 + 10 * (k % 2)] += 8000
        Pil.fromarray(picture).save(folder / f"{k:02}.png")
        lines.append(f"{k:02}.png,p{k},{'ill' if k % 2 else 'well'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    scan([folder], labels=tmp_path / "labels.csv", key=AS_THEY_ARE).save(tmp_path / "m.parquet")
    (tmp_path / "mine.yaml").write_text(MINE)
    return tmp_path


def pretrain(place, out, **more):
    options = {"data": place / "m.parquet", "backbone": "vit_nano", "out": place / out}
    settings = {"train.epochs": 3, "train.batch_size": 8, "train.checkpoint_minutes": 1e-4, "train.log_every": 1}
    return api.pretrain(**{**options, "settings": settings, **more})


def stopping(event, values):
    if event == "step" and values["step"] >= 3:
        raise KeyboardInterrupt


def test_a_run_keeps_the_values_and_needs_no_file_again(place):
    with pytest.raises(KeyboardInterrupt):
        pretrain(place, "run", modality=str(place / "mine.yaml"), method="mae", progress=stopping)
    (place / "mine.yaml").unlink()
    run = api.pretrain(out=place / "run", resume=True)
    kept = load_yaml(place / "run" / "settings.yaml")
    assert (kept["modality"], kept["data"]["image_size"], kept["mae"]["mask_ratio"]) == ("mine", 32, 0.5)
    assert kept["own_modality"]["augment"] == {"geometry": {"crop_area": [0.8, 1]}}
    assert run.provenance["finished"]

    again = api.pretrain(base=place / "run" / "settings.yaml", out=place / "again")
    first, second = (one.backbone().state_dict() for one in (run, again))
    assert all((first[name] == second[name]).all() for name in first)

    seen = open_run(place / "run")
    assert modality_of(seen.recipe).preparation["percentiles"] == [1, 99]
    assert seen.modality.recipe("weak").geometry.crop_area == (0.8, 1)
    done = api.sweep(
        [place / "run"], data=place / "m.parquet", label="finding", positive=["ill"], fractions=[100], draws=1,
        out=place / "sweep", budget={"steps": 5}, ood=[], resamples=100,
    )  # fmt: skip
    assert {"mae", "scratch"} <= set(done.predictions["arm"])
    assert "mine" in (place / "run" / "report.html").read_text()


def test_resuming_with_another_file_is_refused(place):
    pretrain(place, "run", modality=str(place / "mine.yaml"), method="mae", settings={"train.epochs": 1})
    (place / "mine.yaml").write_text(MINE.replace("0.8", "0.6"))
    with pytest.raises(SettingsError, match=r"own_modality\.augment\.geometry\.crop_area"):
        pretrain(place, "run", modality=str(place / "mine.yaml"), method="mae", settings=None, resume=True)


def test_another_modality_over_the_settings_of_a_run_leaves_its_values_out(place):
    pretrain(place, "run", modality=str(place / "mine.yaml"), method="mae", settings={"train.epochs": 1})
    base = place / "run" / "settings.yaml"
    other = pretrain(place, "other", modality="cxr", base=base, settings={"train.epochs": 1}, method=None)
    assert other.settings["own_modality"] == {}
    assert other.settings["modality"] == "cxr"
