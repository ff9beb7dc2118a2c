"""From a manifest to the loss: images of one patient or volume are never each other's negatives."""

import pytest
import torch
from PIL import Image

from medssl.api import pretrain
from medssl.chance import Chance, key
from medssl.data.keys import AS_THEY_ARE
from medssl.data.manifest import Manifest
from medssl.data.scan import scan
from medssl.methods import simclr
from medssl.settings import merged
from medssl.training.pretraining import Pretraining

OF = [str(image // 3) for image in range(12)]  # what an image belongs to: patient or volume


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Twelve images of four patients who are told, and twelve slices of four volumes of patients who are not."""
    folder = tmp_path_factory.mktemp("kin")
    noise, made = Chance([key("kin", image) for image in range(12)]).uniform(0, 255, (24, 24)), {}
    for kind, columns in (("patient", "patient_id"), ("neighbours", "series_id,slice_number")):
        (folder / kind).mkdir()
        rows = [f"file,{columns}"]
        for image, owner in enumerate(OF):
            Image.fromarray(noise[image].astype("uint8")).save(folder / kind / f"{image}.png")
            rows.append(f"{image}.png,{owner}" + (f",{image % 3}" if kind == "neighbours" else ""))
        (folder / kind / "labels.csv").write_text("\n".join(rows) + "\n")
        made[kind] = folder / f"{kind}.parquet"
        scan([folder / kind], labels=folder / kind / "labels.csv", key=AS_THEY_ARE).save(made[kind])
    return made


def slow_nt_xent(first, second, temperature, owners):
    """NT-Xent in float64, a view at a time; of images of one owner only the positive counts."""
    views = torch.nn.functional.normalize(torch.cat([first, second]).detach().double(), dim=1)
    owners, total = owners * 2, 0.0
    for i, view in enumerate(views):
        positive = (i + len(first)) % len(views)
        others = [k for k in range(len(views)) if k == positive or owners[k] != owners[i]]
        logits = views[others] @ view / temperature
        total += float(logits.logsumexp(dim=0) - logits[others.index(positive)])
    return total / len(views)


@pytest.mark.parametrize(("kind", "method"), [("patient", "simclr"), ("neighbours", "mae_contrast")])
def test_a_run_contrasts_no_images_that_belong_together(archive, small, tmp_path, monkeypatch, kind, method):
    """Every step's loss is the slow one over images of others alone, and another than that over all images."""
    table = Manifest.load(archive[kind]).table
    owner = dict(zip(table["sample_id"], table["patient_id" if kind == "patient" else "series_id"], strict=True))
    nt_xent, batch_loss, seen, batches = simclr.nt_xent, Pretraining.loss, [], []

    def noted(first, second, temperature, kin=None):
        terms = nt_xent(first, second, temperature, kin)
        seen.append((first, second, temperature, terms["loss"].item()))
        return terms

    def noting(task, module, batch, step):
        batches.append([owner[name] for name in batch.sample_id])
        seen.clear()
        terms = batch_loss(task, module, batch, step)
        ((first, second, temperature, loss),) = seen
        kept.append((loss, *(slow_nt_xent(first, second, temperature, one) for one in (batches[-1], [*range(6)]))))
        return terms

    kept = []
    monkeypatch.setattr(simclr, "nt_xent", noted)
    monkeypatch.setattr(Pretraining, "loss", noting)
    del small["mae"]
    settings = merged(small, {method: {"positives": kind}, "train": {"batch_size": 6, "epochs": 2}})
    pretrain("oct", method, data=archive[kind], settings=settings, out=tmp_path / "run")
    assert len(kept) == 4
    assert any(len(set(owners)) < 6 for owners in batches)
    for loss, expected, _ in kept:
        assert loss == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert any(abs(expected - over_all) > 0.01 for _, expected, over_all in kept)
