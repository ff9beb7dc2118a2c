"""`medssl.sweep`, the function behind the command: where data and label come from when they are not named."""

import pytest

import medssl
from medssl import api
from medssl.data import builtin
from medssl.errors import SettingsError


def test_it_sweeps_what_the_run_was_pretrained_on_and_writes_the_report(arguments, run, here, tmp_path):
    options = {name: arguments[name] for name in ("budget", "resamples", "device")}
    done = medssl.sweep([run], label="finding", fractions=[100], draws=1, out=tmp_path / "sweep", **options)
    assert done.settings.data == str(here)
    assert done.settings.ood == {}
    assert "mae" in (done.folder / "report.html").read_text()


@pytest.fixture
def asked(monkeypatch):
    calls = []
    monkeypatch.setattr("medssl.evaluation.sweep.sweep", lambda *a, **k: calls.append((a, k)))
    return calls


def test_the_label_that_the_run_watched_is_the_default(here, make_run, tmp_path, asked):
    run = make_run(tmp_path / "run", here)
    with pytest.raises(SettingsError, match="needs a label"):
        api.sweep([run], dry_run=True)
    text = (run / "settings.yaml").read_text().replace("data:\n", "data:\n  label: finding\n  positive: [yes]\n")
    (run / "settings.yaml").write_text(text)
    api.sweep([run], dry_run=True)
    assert asked[0][0][1:] == (here, "finding")
    assert (asked[0][1]["positive"], asked[0][1]["negative"]) == (["yes"], None)
    with pytest.raises(SettingsError, match="needs a label"):
        api.sweep([run], data=here, dry_run=True)


def test_a_run_on_the_built_in_cohort_is_swept_on_it_and_its_other_device(here, make_run, tmp_path, asked, monkeypatch):
    run = make_run(tmp_path / "run", here)
    text = (run / "settings.yaml").read_text().replace(f"manifest: {here}", "manifest: null")
    (run / "settings.yaml").write_text(text)
    made = builtin.Builtin(tmp_path / "a.parquet", tmp_path / "b.parquet")
    monkeypatch.setattr(builtin, "cohort", lambda modality, progress: made)
    api.sweep([run], dry_run=True)
    api.sweep([run], ood=[], dry_run=True)
    api.sweep([run], ood=["shift:blur"], dry_run=True)
    assert asked[0][0][1:] == (made.manifest, made.label)
    assert [call[1]["ood"] for call in asked] == [[str(made.ood)], [], [str(made.ood), "shift:blur"]]
