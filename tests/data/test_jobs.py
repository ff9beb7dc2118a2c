"""A scan in jobs finds what a scan finds, and a job that fails is named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pil

from medssl.data import jobs
from medssl.data.earlier import Earlier
from medssl.data.keys import kept
from medssl.data.record import journal_of
from medssl.data.scan import scan
from medssl.data.update import Choices
from medssl.errors import SettingsError, StoppedError

submitit = pytest.importorskip("submitit", reason="the extra slurm is not installed")


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    for k in range(40):
        Pil.fromarray(np.full((4, 4), k, np.uint8)).save(folder / f"{k}.png")
    return folder


@pytest.fixture
def choices(tmp_path):
    kept(tmp_path / "site.key")
    return Choices(key=str(tmp_path / "site.key"))


def test_what_jobs_are_given_holds_no_key(archive, tmp_path, choices):
    jobs.read_in_jobs([archive], tmp_path / "m.parquet", choices, 2, options={"cluster": "local", "time": "5"})
    secret = Path(choices.key).read_bytes().strip()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "site.key"]
    assert any(path.suffix == ".pkl" for path in written)
    assert not any(secret in path.read_bytes() for path in written)
    with pytest.raises(SettingsError, match="--key"):
        jobs.read_in_jobs([archive], tmp_path / "n.parquet", Choices(), 2, options={"cluster": "debug"})


@pytest.mark.parametrize("cluster", ["debug", "local"])
def test_jobs_find_what_a_scan_finds(archive, tmp_path, cluster, choices):
    output = tmp_path / "out" / "m.parquet"
    jobs.read_in_jobs([archive], output, choices, 3, options={"cluster": cluster, "time": "5"})
    names = sorted(path.name for path in output.parent.glob(".*.scan-*"))
    assert names == [f"{journal_of(output).name}-{k}-of-3" for k in (1, 2, 3)]
    earlier, key = Earlier(output), Path(choices.key)
    pd.testing.assert_frame_equal(scan([archive], key=key, earlier=earlier).table, scan([archive], key=key).table)
    assert earlier.said == ["going on with an unfinished scan: 40 of 40 files were read before"]


def test_a_job_that_fails_is_named_and_the_others_count(archive, tmp_path, monkeypatch, choices):
    output = tmp_path / "out" / "m.parquet"
    part = jobs.scan_part

    def fails(folders, earlier, **options):
        if earlier.shard == (2, 3):
            raise OSError("no disk")
        return part(folders, earlier, **options)

    monkeypatch.setattr(jobs, "scan_part", fails)
    with pytest.raises(StoppedError, match=r"1 of 3 jobs did not finish \(parts 2\)"):
        jobs.read_in_jobs([archive], output, choices, 3, options={"cluster": "debug"})
    earlier = Earlier(output)
    assert len(scan([archive], key=Path(choices.key), earlier=earlier)) == 40
    assert "going on" in earlier.said[0]


def test_without_slurm_and_with_wrong_options_it_says_what_to_do(archive, tmp_path, monkeypatch, choices):
    monkeypatch.setattr(submitit.AutoExecutor, "which", lambda: "local")
    with pytest.raises(SettingsError, match="cluster=local"):
        jobs.read_in_jobs([archive], tmp_path / "m.parquet", choices, 2)
    for wrong in ({"cluster": "nowhere"}, {"cluster": "local", "time": "soon"}):
        with pytest.raises(SettingsError, match="refused"):
            jobs.read_in_jobs([archive], tmp_path / "m.parquet", choices, 2, options=wrong)


def test_options_reach_sbatch(tmp_path, monkeypatch):
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    executor = jobs._executor(tmp_path / "jobs", {"partition": "cpu", "time": "60"})
    text = executor._executor._make_submission_file_text("echo", "id")
    assert "#SBATCH --partition=cpu" in text
    assert "#SBATCH --time=60" in text
