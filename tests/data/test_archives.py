"""Archives from strangers: what is honest is unpacked whole, what is not leaves nothing behind."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from medssl.data import archives
from medssl.errors import DataError, StorageError

FILES = {"set/images/a.png": b"a" * 3000, "set/b.txt": b"", "MANIFEST.json": b"theirs"}


def zipped(path: Path, entries: dict, mode: int | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if mode is not None:
                info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def tarred(path: Path, entries: dict, **fields) -> Path:
    kind = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(path.suffix, "w")
    with tarfile.open(path, kind) as archive:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def unpacked(archive: Path) -> dict:
    folder = archive.parent / "out"
    archives.unpack(archive, folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_stem_of_an_archive():
    assert [archives.stem(n) for n in ("a.zip", "a.b.tar.gz", "a.TGZ", "a.npz", "zip")] == ["a", "a.b", "a", None, None]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.zip"])
def test_an_honest_archive_is_unpacked_whole(tmp_path, name):
    make = zipped if name.endswith(".zip") else tarred
    seen = []
    assert unpacked(make(tmp_path / name, FILES)) == FILES
    archives.unpack(tmp_path / name, tmp_path / "again", progress=lambda kind, values: seen.append(kind))
    assert set(seen) == {"unpack"}


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["/abs.txt", "../up.txt", "a/../../up.txt", "..\\up.txt", "C:/x.txt", "a/C\\b"])
def test_a_path_that_leads_out_is_refused_and_nothing_is_left(tmp_path, make, name):
    archive = make(tmp_path / ("a.zip" if make is zipped else "a.tar"), {"good.txt": b"1", name: b"2"})
    with pytest.raises(DataError, match="leads out of the folder"):
        unpacked(archive)
    assert list(tmp_path.iterdir()) == [archive]
    assert not (tmp_path.parent / "up.txt").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = tarred(tmp_path / "a.tar", {"way": b""}, type=kind, linkname="/etc")
    with pytest.raises(DataError, match="'way' is a link or a device"):
        unpacked(archive)
    archive.unlink()
    archive = zipped(tmp_path / "a.zip", {"way": b"/etc"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="'way' is a link or a device"):
        unpacked(archive)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_bomb_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(archives, "_ALWAYS", 1000)
    archive = (zipped if name.endswith(".zip") else tarred)(tmp_path / name, {"zeros": bytes(5_000_000)})
    with pytest.raises(DataError, match="far more than its size explains"):
        unpacked(archive)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_header_that_wants_all_memory_is_refused(tmp_path):
    archive = tarred(tmp_path / "a.tar.gz", {"pax": bytes(5_000_000)}, type=tarfile.XHDTYPE)
    with pytest.raises(DataError, match="header is too large"):
        unpacked(archive)


def test_what_follows_the_end_is_not_read_for_ever(tmp_path):
    archive = tarred(tmp_path / "a.tar", {"a": b"1"})
    with archive.open("ab") as handle:
        handle.truncate(archive.stat().st_size + 40_000_000)
    with pytest.raises(DataError, match="goes on after its end"):
        unpacked(archive)


def test_more_files_than_any_set_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_FILES", 2)
    with pytest.raises(DataError, match="more than 2 files"):
        unpacked(zipped(tmp_path / "a.zip", FILES))


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    for entries in ({"a": b"1", "a/b": b"2"}, {"a": b"1", "./a": b"2"}):
        with pytest.raises(DataError, match="is there twice"):
            unpacked(tarred(tmp_path / "a.tar", entries))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("damage", ["cut", "flip", "text"])
def test_a_damaged_archive_is_one_sentence_and_leaves_nothing(tmp_path, name, damage):
    noise = bytes((k * k * 31 + k // 7) % 251 for k in range(60_000))
    archive = (zipped if name.endswith(".zip") else tarred)(tmp_path / name, {"a": noise, "b": noise})
    data = bytearray(archive.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flip":
        place = 200 if name == "a.tar" else len(data) // 2  # a plain tar has checksums of its headers only
        data[place : place + 20] = b"\xff" * 20
    else:
        data = bytearray(b"<html>not found</html>")
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be unpacked|shorter than it says"):
        unpacked(archive)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_disk_without_room_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_SPARE", 10**18)
    with pytest.raises(StorageError, match="disk is full"):
        unpacked(zipped(tmp_path / "a.zip", FILES))
