"""A scan that was stopped goes on; one that is repeated reads what is new or changed; nothing else differs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pil

from medssl import files
from medssl.data import record
from medssl.data.earlier import Earlier
from medssl.data.keys import AS_THEY_ARE
from medssl.data.privacy import Hiding
from medssl.data.record import journal_of, record_of
from medssl.data.scan import scan, scan_part
from medssl.errors import StorageError
from tests.data.test_grouping import write_slice


class Watch(Hiding):
    """A hook that writes down which rows pass, from whatever process."""

    def __init__(self, log: Path) -> None:
        super().__init__(AS_THEY_ARE)
        object.__setattr__(self, "log", log)
        object.__setattr__(self, "word", "a")

    @property
    def fingerprint(self) -> str:
        return self.word

    def __call__(self, row: dict) -> dict:
        with self.log.open("a") as handle:
            handle.write(row["path"] + "\n")
        return super().__call__(row) | {"patient_id": f"hidden-{row.get('patient_id')}"}

    def read(self) -> list[str]:
        """Return what passed since the last call."""
        seen = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return sorted(seen)


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    for k in range(30):
        write_slice(folder / "s" / f"{k:02d}.dcm", [0, 0, 2 * k])
    for k in range(300):
        (folder / f"{k:03d}").mkdir()
        Pil.fromarray(np.full((4, 4), k % 250, np.uint8)).save(folder / f"{k:03d}" / "a.png")
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path / "log")


def equal(one, other):
    pd.testing.assert_frame_equal(one.table, other.table)
    assert one.remarks == other.remarks


def stopped_after(count):
    def progress(kind, values):
        if values["done"] > count:
            raise KeyboardInterrupt

    return progress


def finished(output, manifest, earlier):
    manifest.save(output)
    earlier.finish()


def test_an_interrupted_scan_goes_on_where_it_stopped(archive, tmp_path, watch):
    output = tmp_path / "m.parquet"
    whole = scan([archive], hide=watch)
    assert len(watch.read()) == 331
    with pytest.raises(KeyboardInterrupt):
        scan([archive], hide=watch, earlier=Earlier(output), progress=stopped_after(20))
    first = watch.read()
    journal = journal_of(output)
    assert journal.exists()
    assert not output.exists()
    with journal.open("ab") as handle:  # torn by a power cut
        handle.write(journal.read_bytes()[-500:-100])
    again = Earlier(output)
    resumed = scan([archive], hide=watch, earlier=again)
    rest = watch.read()
    equal(resumed, whole)
    assert len(rest) < 331
    assert set(first) | set(rest) == set(whole_paths(archive))
    assert "going on with an unfinished scan" in again.said[0]
    finished(output, resumed, again)
    assert not journal.exists()
    assert record_of(output).exists()


def whole_paths(archive):
    return [p.relative_to(archive).as_posix() for p in archive.rglob("*") if p.is_file()]


def test_a_killed_scan_goes_on(archive, tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from medssl.data import scan, earlier\n"
        "from medssl.data.keys import AS_THEY_ARE\n"
        "from medssl.data.privacy import Hiding\n"
        "class Slow(Hiding):\n"
        "    def __call__(self, row):\n        time.sleep(0.02)\n        return super().__call__(row)\n"
        "folder, output = map(pathlib.Path, sys.argv[1:])\n"
        "scan.scan([folder], hide=Slow(AS_THEY_ARE), earlier=earlier.Earlier(output))\n"
    )
    output = tmp_path / "m.parquet"
    run = subprocess.Popen([sys.executable, "-c", code, str(archive), str(output)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (journal_of(output).exists() and journal_of(output).stat().st_size > 20_000):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    earlier = Earlier(output)
    equal(scan([archive], key=AS_THEY_ARE, earlier=earlier), scan([archive], key=AS_THEY_ARE))
    assert "going on" in earlier.said[0]


@pytest.mark.parametrize("cut", [1, 7, 300])
def test_whatever_the_end_of_a_journal_is_its_whole_blocks_count(archive, tmp_path, cut, watch):
    output = tmp_path / "m.parquet"
    scan([archive], hide=watch, earlier=Earlier(output))
    everything = watch.read()
    files.truncate(journal_of(output), journal_of(output).stat().st_size - cut)
    resumed = scan([archive], hide=watch, earlier=Earlier(output))
    assert 0 < len(watch.read()) < len(everything)
    equal(resumed, scan([archive], hide=watch))
    watch.read()
    scan([archive], hide=watch, earlier=Earlier(output))
    assert watch.read() == []  # the end was cut before more was appended


def test_a_flipped_bit_costs_what_follows_it_and_no_row_is_wrong(archive, tmp_path):
    output = tmp_path / "m.parquet"
    scan([archive], key=AS_THEY_ARE, earlier=Earlier(output))
    data = bytearray(journal_of(output).read_bytes())
    data[len(data) // 2] ^= 4
    journal_of(output).write_bytes(data)
    equal(scan([archive], key=AS_THEY_ARE, earlier=Earlier(output)), scan([archive], key=AS_THEY_ARE))


def test_an_update_reads_what_is_new_or_changed_and_drops_what_is_gone(archive, tmp_path, watch):
    output = tmp_path / "m.parquet"
    first = Earlier(output)
    finished(output, scan([archive], hide=watch, earlier=first), first)
    watch.read()
    (archive / "005" / "a.png").unlink()
    (archive / "006" / "a.png").rename(archive / "006" / "b.png")
    Pil.fromarray(np.zeros((9, 9), np.uint8)).save(archive / "007" / "a.png")
    os.utime(archive / "008" / "a.png", ns=(1, 1))
    write_slice(archive / "s" / "30.dcm", [0, 0, 60])
    second = Earlier(output, update=True)
    updated = scan([archive], hide=watch, earlier=second)
    assert watch.read() == ["006/b.png", "007/a.png", "008/a.png", "s/30.dcm"]
    assert second.said == [
        "327 of 331 files are as they were; 2 are new, 2 are changed or could not be read before, 2 are gone"
    ]
    equal(updated, scan([archive], hide=watch))
    assert updated.table.query("ndim == 3")["slices"].tolist() == [31]
    finished(output, updated, second)
    watch.read()
    third = Earlier(output, update=True)
    equal(scan([archive], hide=watch, earlier=third), updated)
    assert watch.read() == []
    assert third.said == [
        "331 of 331 files are as they were; 0 are new, 0 are changed or could not be read before, 0 are gone"
    ]


def test_an_update_that_is_interrupted_goes_on_too(archive, tmp_path, watch):
    output = tmp_path / "m.parquet"
    first = Earlier(output)
    finished(output, scan([archive], hide=watch, earlier=first), first)
    watch.read()
    for k in range(250):
        os.utime(archive / f"{k:03d}" / "a.png", ns=(1, 1))
    with pytest.raises(KeyboardInterrupt):
        scan([archive], hide=watch, earlier=Earlier(output, update=True), progress=stopped_after(90))
    done = len(watch.read())
    second = Earlier(output, update=True)
    updated = scan([archive], hide=watch, earlier=second)
    assert 0 < len(watch.read()) < 250 <= done + 250
    equal(updated, scan([archive], hide=watch))


def test_a_file_that_could_not_be_read_is_tried_again_by_an_update(archive, tmp_path, watch):
    (archive / "bad.png").write_bytes((archive / "000" / "a.png").read_bytes()[:30])
    output = tmp_path / "m.parquet"
    first = Earlier(output)
    finished(output, scan([archive], hide=watch, earlier=first), first)
    watch.read()
    scan([archive], hide=watch, earlier=Earlier(output, update=True))
    assert watch.read() == ["bad.png"]


@pytest.mark.parametrize("other", ["folder", "program", "key"])
def test_rows_of_another_folder_program_or_key_are_not_used_again(archive, tmp_path, monkeypatch, other, watch):
    output = tmp_path / "m.parquet"
    scan([archive], hide=watch, earlier=Earlier(output))
    count = len(watch.read())
    folder = archive
    if other == "folder":
        folder, count = archive / "s", 30
    elif other == "program":
        monkeypatch.setattr("medssl.data.earlier.program", lambda: "another")
    else:
        object.__setattr__(watch, "word", "b")
    earlier = Earlier(output)
    scan([folder], hide=watch, earlier=earlier)
    assert len(watch.read()) == count
    assert "nothing of an earlier scan is used again" in earlier.said[0]


def test_more_folders_below_the_same_root_use_what_is_known(archive, tmp_path, watch):
    output = tmp_path / "m.parquet"
    scan([archive / "000", archive / "001"], hide=watch, earlier=Earlier(output))
    assert len(watch.read()) == 2
    scan([archive / "000", archive / "001", archive / "002"], hide=watch, earlier=Earlier(output))
    assert watch.read() == ["002/a.png"]


def test_two_scans_for_one_manifest_are_refused(archive, tmp_path):
    output = tmp_path / "m.parquet"
    held = Earlier(output)
    held.open(archive, None)
    with pytest.raises(StorageError, match="Another scan"):
        scan([archive], key=AS_THEY_ARE, earlier=Earlier(output))
    held.close()
    scan([archive], key=AS_THEY_ARE, earlier=Earlier(output))


def test_a_full_disk_is_said_and_what_was_written_before_counts(archive, tmp_path, monkeypatch, watch):
    output = tmp_path / "m.parquet"
    write, written = files._disk.write, []

    def fails(handle, data):
        written.append(len(data))
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        write(handle, data)

    monkeypatch.setattr(files._disk, "write", fails)
    with pytest.raises(StorageError, match="disk is full"):
        scan([archive], hide=watch, earlier=Earlier(output))
    monkeypatch.setattr(files._disk, "write", write)
    everything = len(set(watch.read()))
    resumed = scan([archive], hide=watch, earlier=Earlier(output))
    assert len(watch.read()) < 331 <= everything + 331
    equal(resumed, scan([archive], hide=watch))


def test_parts_are_joined_and_a_part_that_is_missing_is_read(archive, tmp_path, watch):
    output = tmp_path / "m.parquet"
    counts = [scan_part([archive], Earlier(output, shard=(k, 4)), hide=watch) for k in (1, 2, 4)]
    parts = watch.read()
    assert len(parts) == sum(counts) < 331
    earlier = Earlier(output)
    joined = scan([archive], hide=watch, earlier=earlier)
    assert sorted(watch.read() + parts) == sorted(whole_paths(archive))
    equal(joined, scan([archive], hide=watch))
    finished(output, joined, earlier)
    assert sorted(p.name for p in tmp_path.glob(".*")) == [".m.parquet.files"]
    watch.read()
    scan([archive], hide=watch, earlier=Earlier(output, update=True))
    assert watch.read() == []


def test_what_the_scan_writes_is_no_part_of_the_archive(archive, watch):
    output = archive / "m.parquet"
    for update in (False, True):
        earlier = Earlier(output, update=update)
        manifest = scan([archive], hide=watch, earlier=earlier)
        assert not manifest.table["path"].str.contains("m.parquet").any()
        finished(output, manifest, earlier)


def test_the_hook_sees_a_row_before_it_is_written_anywhere(archive, tmp_path, watch):
    output = tmp_path / "m.parquet"
    earlier = Earlier(output)
    manifest = scan([archive], hide=watch, earlier=earlier)
    assert manifest.table["patient_id"].dropna().unique().tolist() == ["hidden-None", "hidden-P1"]
    assert record.table_of([journal_of(output)], earlier._header)["patient_id"].to_pylist().count("P1") == 0


def test_what_else_a_reader_says_is_a_column(archive, tmp_path):
    class More(Hiding):
        def __call__(self, row):
            return super().__call__(row) | ({"colour": "red"} if row["path"].startswith("000") else {})

    for earlier in (None, Earlier(tmp_path / "m.parquet")):
        table = scan([archive], hide=More(AS_THEY_ARE), earlier=earlier).table
        assert table["colour"].dropna().tolist() == ["red"]


def test_a_number_that_no_table_holds_costs_its_row(archive):
    class Huge(Hiding):
        def __call__(self, row):
            return super().__call__(row) | ({"bits": 10**30} if row["path"].startswith("000") else {})

    table = scan([archive], hide=Huge(AS_THEY_ARE)).table.set_index("path")
    assert table.loc["000/a.png", "status"] == "unreadable"
    assert (table["status"] == "unreadable").sum() == 1
