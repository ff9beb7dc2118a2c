"""A scan in jobs finds what a scan finds, and a job that fails is named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pil

from medssl.data import jobs
from medssl.data.earlier import Earlier
from medssl.data.record import journal_of
from medssl.data.scan import scan
from medssl.errors import SettingsError, StoppedError

submitit = pytest.importorskip("submitit", reason="the extra slurm is not installed")


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    for k in range(40):
        Pil.fromarray(np.full((4, 4), k, np.uint8)).save(folder / f"{k}.png")
    return folder


@pytest.mark.parametrize("cluster", ["debug", "local"])
def test_jobs_find_what_a_scan_finds(archive, tmp_path, cluster):
    output = tmp_path / "out" / "m.parquet"
    jobs.read_in_jobs([archive], output, 3, options={"cluster": cluster, "time": "5"})
    names = sorted(path.name for path in output.parent.glob(".*.scan-*"))
    assert names == [f"{journal_of(output).name}-{k}-of-3" for k in (1, 2, 3)]
    earlier = Earlier(output)
    pd.testing.assert_frame_equal(scan([archive], earlier=earlier).table, scan([archive]).table)
    assert earlier.said == ["going on with an unfinished scan: 40 of 40 files were read before"]


def test_a_job_that_fails_is_named_and_the_others_count(archive, tmp_path, monkeypatch):
    output = tmp_path / "out" / "m.parquet"
    part = jobs.scan_part

    def fails(folders, earlier, **options):
        if earlier.shard == (2, 3):
            raise OSError("no disk")
        return part(folders, earlier, **options)

    monkeypatch.setattr(jobs, "scan_part", fails)
    with pytest.raises(StoppedError, match=r"1 of 3 jobs did not finish \(parts 2\)"):
        jobs.read_in_jobs([archive], output, 3, options={"cluster": "debug"})
    earlier = Earlier(output)
    assert len(scan([archive], earlier=earlier)) == 40
    assert "going on" in earlier.said[0]


def test_without_slurm_and_with_wrong_options_it_says_what_to_do(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(submitit.AutoExecutor, "which", lambda: "local")
    with pytest.raises(SettingsError, match="cluster=local"):
        jobs.read_in_jobs([archive], tmp_path / "m.parquet", 2)
    for wrong in ({"cluster": "nowhere"}, {"cluster": "local", "time": "soon"}):
        with pytest.raises(SettingsError, match="refused"):
            jobs.read_in_jobs([archive], tmp_path / "m.parquet", 2, options=wrong)


def test_options_reach_sbatch(tmp_path, monkeypatch):
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    executor = jobs._executor(tmp_path / "jobs", {"partition": "cpu", "time": "60"})
    text = executor._executor._make_submission_file_text("echo", "id")
    assert "#SBATCH --partition=cpu" in text
    assert "#SBATCH --time=60" in text
