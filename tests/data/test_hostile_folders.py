"""Folders that nobody means to scan: sockets, loops, odd names, depths without end, files that change meanwhile."""

import errno
import functools
import os
import socket
import subprocess
import time

import numpy as np
import pytest
from PIL import Image as Pil

from medssl.data import apart, listing, reading
from medssl.data.manifest import Manifest
from medssl.data.readers import raster
from medssl.data.scan import scan

PICTURE = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.fixture
def good(tmp_path):
    folder = tmp_path / "around" / "scanned"
    folder.mkdir(parents=True)
    Pil.fromarray(PICTURE).save(folder / "good.png")
    return folder


@pytest.fixture
def deep(good):
    """A folder to make depths in, removed by rm: pytest clears up with calls in each other, one a level."""
    yield good
    subprocess.run(["rm", "-rf", str(good)], check=True)


def told(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """Status and reason by path."""
    table = manifest.table
    return {p: (s, r) for p, s, r in zip(table["path"], table["status"], table["reason"].fillna(""), strict=True)}


def test_what_is_no_file_is_skipped(good, monkeypatch):
    os.mkfifo(good / "pipe.dcm")
    (good / "zero.dcm").symlink_to("/dev/zero")
    monkeypatch.chdir(good)  # the name of a socket is short
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket.png")
    found = told(scan([good]))
    listening.close()
    for name in ("pipe.dcm", "zero.dcm", "socket.png"):
        assert found[name] == ("skipped", "not a regular file")
    assert found["good.png"][0] == "ok"


def test_links_in_a_loop_are_named_once(good):
    (good / "one").symlink_to(good / "other")
    (good / "other").symlink_to(good / "one")
    (good / "self.dcm").symlink_to("self.dcm")
    (good / "up").symlink_to("..")
    (good / "here").symlink_to(".")
    (good.parent / "only-once.png").write_bytes((good / "good.png").read_bytes())
    found = told(scan([good]))
    for name in ("one", "other", "self.dcm"):
        assert found[name] == ("unreadable", "Too many levels of symbolic links")
    assert sum(path.endswith("good.png") for path in found) == 1
    assert sum(path.endswith("only-once.png") for path in found) == 1


@pytest.mark.parametrize(
    "name", ["new\nline", "return\r", "tab\tbell\a", "\x1b[31mred", "quote\"'`$(x)", "  spaces  ", "%s{0}"]
)
def test_odd_names_are_rows_that_survive_a_table(good, name, tmp_path_factory):
    (good / f"{name}.png").write_bytes((good / "good.png").read_bytes())
    (good / f"{name}-bad.dcm").write_bytes(b"x" * 20)
    manifest, kept = scan([good]), tmp_path_factory.mktemp("kept")
    assert told(manifest)[f"{name}.png"][0] == "ok"
    for ending in ("csv", "parquet"):
        manifest.save(kept / f"m.{ending}")
        again = Manifest.load(kept / f"m.{ending}").table
        assert again["status"].value_counts().to_dict() == {"ok": 2, "unreadable": 1}
        assert any(
            path.endswith(f"{name}.png".lstrip() if "spaces" in name else f"{name}.png") for path in again["path"]
        )
        assert not any("\n" in reason for reason in again["reason"].dropna())


def test_a_folder_without_rights_is_named_and_the_rest_is_read(good, monkeypatch):
    (good / "locked").mkdir()
    (good / "z.png").write_bytes((good / "good.png").read_bytes())
    list_folder = os.scandir

    def refuse(folder):  # a stand-in: the superuser may read everything
        if str(folder).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return list_folder(folder)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    found = told(scan([good]))
    assert found["locked"] == ("unreadable", "the folder cannot be read: Permission denied")
    assert found["good.png"][0] == found["z.png"][0] == "ok"


@pytest.mark.parametrize(
    ("name", "levels", "end"), [("d", 1500, "read"), ("d", 2500, "named"), ("x" * 200, 40, "named")]
)
def test_depths_are_walked_to_the_end_or_named(deep, monkeypatch, name, levels, end):
    monkeypatch.chdir(deep)
    for _ in range(levels):
        os.mkdir(name)  # noqa: PTH102 (the whole path would be too long)
        os.chdir(name)
    Pil.fromarray(PICTURE).save("deep.png")
    monkeypatch.chdir(deep)
    found = told(scan([deep]))
    assert found.pop("good.png")[0] == "ok"
    ((place, state),) = found.items()
    assert state == (("ok", "") if end == "read" else ("unreadable", "the folder cannot be read: File name too long"))
    if end == "read":
        assert place.endswith("d/d/deep.png")


def test_a_file_that_vanishes_or_changes_while_it_is_read_is_a_row(good, monkeypatch):
    for name in ("gone.png", "short.png", "empty.png", "grown.png"):
        (good / name).write_bytes((good / "good.png").read_bytes())
    describe = raster.describe

    def change(path):
        data = path.read_bytes()
        if path.name == "gone.png":
            path.unlink()
        elif path.name == "short.png":
            path.write_bytes(data[: len(data) // 2])
        elif path.name == "empty.png":
            path.write_bytes(b"")
        elif path.name == "grown.png":
            path.write_bytes(data + data)
        return describe(path)

    monkeypatch.setattr(raster, "describe", change)
    found = told(scan([good]))
    assert found["good.png"][0] == found["grown.png"][0] == "ok"
    for name in ("gone.png", "short.png", "empty.png"):
        status, reason = found[name]
        assert status == "unreadable", name
        assert reason, name


def test_a_read_that_hangs_costs_its_file_only(good, monkeypatch):
    for name in ("hang.png", "z.png"):
        (good / name).write_bytes((good / "good.png").read_bytes())
    describe = raster.describe

    def hang(path):
        if path.name == "hang.png":
            time.sleep(60)
        return describe(path)

    monkeypatch.setattr(raster, "describe", hang)
    monkeypatch.setattr(reading, "blocks", functools.partial(apart.blocks, seconds=3.0))
    found = told(scan([good]))
    assert found["hang.png"] == ("unreadable", "reading it takes longer than 3 s")
    assert found["good.png"][0] == found["z.png"][0] == "ok"


def test_many_empty_files_are_rows(good):
    many = int(os.environ.get("MEDSSL_EMPTY_FILES", "2000"))
    for number in range(many):
        (good / f"{number}.dcm").touch()
    counts = scan([good]).table["reason"].value_counts(dropna=False)
    assert counts["the file is empty"] == many
