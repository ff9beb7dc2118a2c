"""The one writer under injected faults: every single operation fails once, and nothing is half-written."""

import errno
import multiprocessing
from pathlib import Path

import pytest

from medssl import files
from medssl.errors import DataError, StorageError


class Faulty(files._Disk):
    """Fails at the n-th operation on the disk, as a full disk does."""

    def __init__(self, fail_at: int, code: int = errno.ENOSPC):
        self.count, self.fail_at, self.code = 0, fail_at, code

    def _step(self):
        self.count += 1
        if self.count == self.fail_at:
            raise OSError(self.code, "injected")

    def write(self, handle, data):
        self._step()
        super().write(handle, data)

    def sync(self, handle):
        self._step()
        super().sync(handle)

    def replace(self, source, target):
        self._step()
        super().replace(source, target)

    def sync_folder(self, folder):
        self._step()
        super().sync_folder(folder)


def operations(monkeypatch, action) -> int:
    counter = Faulty(fail_at=-1)
    monkeypatch.setattr(files, "_disk", counter)
    action()
    return counter.count


def test_file_is_old_or_new_at_every_fault(tmp_path: Path, monkeypatch):
    target = tmp_path / "value.json"
    total = operations(monkeypatch, lambda: files.write_json(target, {"a": 1}))
    assert total == 4
    for fail_at in range(1, total + 1):
        monkeypatch.setattr(files, "_disk", Faulty(fail_at))
        with pytest.raises(StorageError, match="full"):
            files.write_json(target, {"a": 2})
        monkeypatch.setattr(files, "_disk", files._Disk())
        expected = {"a": 2} if fail_at == total else {"a": 1}  # only the folder's sync comes after the rename
        assert files.read_json(target) == expected
        files.write_json(target, {"a": 1})
        assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_folder_is_whole_or_absent_at_every_fault(tmp_path: Path, monkeypatch):
    def write():
        with files.atomic_folder(tmp_path / "state") as folder:
            (folder / "weights.bin").write_bytes(b"w" * 1000)
            (folder / "state.json").write_text("{}")

    total = operations(monkeypatch, write)
    for fail_at in range(1, total + 1):
        files.shutil.rmtree(tmp_path / "state", ignore_errors=True)
        monkeypatch.setattr(files, "_disk", Faulty(fail_at))
        with pytest.raises(StorageError):
            write()
        if (tmp_path / "state").exists():
            files.verify_folder(tmp_path / "state")
        assert not [p for p in tmp_path.iterdir() if p.name != "state"]


def test_every_flipped_byte_of_a_folder_is_found(tmp_path: Path):
    with files.atomic_folder(tmp_path / "state") as folder:
        (folder / "weights.bin").write_bytes(bytes(range(64)))
    file = tmp_path / "state" / "weights.bin"
    files.verify_folder(tmp_path / "state")
    for position in range(64):
        data = bytearray(range(64))
        data[position] ^= 1
        file.write_bytes(bytes(data))
        with pytest.raises(DataError, match=r"weights\.bin"):
            files.verify_folder(tmp_path / "state")


def test_replacing_a_folder_keeps_one_whole_version(tmp_path: Path):
    for value in ("old", "new"):
        with files.atomic_folder(tmp_path / "state") as folder:
            (folder / "value").write_text(value)
    assert (tmp_path / "state" / "value").read_text() == "new"
    with pytest.raises(ValueError, match="stop"), files.atomic_folder(tmp_path / "state") as folder:
        raise ValueError("stop")
    assert (tmp_path / "state" / "value").read_text() == "new"


def test_folder_replacement_interrupted_between_removal_and_rename_keeps_the_old(tmp_path: Path, monkeypatch):
    def write(value):
        with files.atomic_folder(tmp_path / "state") as folder:
            (folder / "value").write_text(value)

    write("old")
    total = operations(monkeypatch, lambda: write("old"))
    for fail_at in range(1, total + 1):
        monkeypatch.setattr(files, "_disk", Faulty(fail_at))
        with pytest.raises(StorageError):
            write("new")
        monkeypatch.setattr(files, "_disk", files._Disk())
        assert (tmp_path / "state" / "value").read_text() in {"old", "new"}
        write("old")


def test_a_crash_between_the_two_renames_is_undone(tmp_path: Path):
    with files.atomic_folder(tmp_path / "state") as folder:
        (folder / "value").write_text("old")
    (tmp_path / "state").rename(tmp_path / ".state.old")
    files.verify_folder(tmp_path / "state")
    assert (tmp_path / "state" / "value").read_text() == "old"


def test_log_survives_a_torn_last_line(tmp_path: Path):
    log = tmp_path / "metrics.jsonl"
    files.append_json_line(log, {"step": 1})
    size = log.stat().st_size
    with log.open("ab") as handle:
        handle.write(b'{"step": 2, "lo')
    assert files.read_json_lines(log) == [{"step": 1}]
    files.truncate(log, size)
    files.append_json_line(log, {"step": 2})
    assert [line["step"] for line in files.read_json_lines(log)] == [1, 2]


def test_nan_never_reaches_a_json_file(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"auroc": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_needs_resume(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("keep")
    for resume, said in ((False, "not empty.*another -o"), (True, "holds something else")):
        with (
            pytest.raises(StorageError, match=said),
            files.claimed(tmp_path / "run", resume=resume, marks=["settings.yaml"]),
        ):
            pass
    (tmp_path / "run" / "settings.yaml").touch()
    with pytest.raises(StorageError, match="--resume"), claimed(tmp_path / "run", resume=False):
        pass
    with claimed(tmp_path / "run", resume=True):
        assert (tmp_path / "run" / "precious.txt").read_text() == "keep"


def test_prepared_images_and_a_lock_are_no_content(tmp_path: Path):
    (tmp_path / "run" / files.STORES).mkdir(parents=True)
    (tmp_path / "run" / ".lock").touch()
    with claimed(tmp_path / "run", resume=False):
        pass
    assert (tmp_path / "run" / files.STORES).is_dir()


def claimed(folder, *, resume):
    return files.claimed(folder, resume=resume, marks=["settings.yaml"])


def _hold(folder, held, release):
    with claimed(folder, resume=True):
        held.set()
        release.wait(30)


def test_a_folder_in_use_is_refused_by_name_of_the_process(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "run", held, release))
    process.start()
    try:
        assert held.wait(30)
        with (
            pytest.raises(StorageError, match=f"in use by process {process.pid}"),
            claimed(tmp_path / "run", resume=True),
        ):
            pass
    finally:
        release.set()
        process.join()
    with claimed(tmp_path / "run", resume=True):
        pass


def test_a_claimed_folder_that_stays_empty_is_removed_with_those_made_for_it(tmp_path: Path):
    with pytest.raises(DataError), claimed(tmp_path / "studies" / "run", resume=False):
        raise DataError("nothing to do")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "studies").mkdir()
    with claimed(tmp_path / "studies" / "run", resume=False) as folder:
        (folder / "kept").touch()
    with pytest.raises(DataError), claimed(tmp_path / "studies" / "other", resume=False):
        raise DataError("nothing to do")
    assert [path.name for path in (tmp_path / "studies").iterdir()] == ["run"]
    assert (tmp_path / "studies" / "run" / "kept").exists()


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(StorageError, match=r"file where a folder is needed"), claimed(place, resume=True):
            pass
    assert (tmp_path / "file").read_text() == "kept"


def test_unreadable_json_is_named(tmp_path: Path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match=r"broken\.json"):
        files.read_json(tmp_path / "broken.json")
    with pytest.raises(DataError, match=r"absent\.json"):
        files.read_json(tmp_path / "absent.json")
