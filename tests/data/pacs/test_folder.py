"""Where instances go: complete or not there, each once, under names that say nothing."""

import errno
import re
import warnings
import zlib
from pathlib import Path

import pytest
from pydicom import dcmread, uid

from medssl import files
from medssl.data.pacs.folder import MARK, Folder, held
from medssl.data.pacs.header import read_header
from medssl.errors import DataError, StorageError

from .conftest import CANARY, PATIENT, one  # isort: skip


def settle(folder: Folder, data: bytes):
    with folder.incoming() as incoming:
        incoming.write(data)
        return incoming.settle()


@pytest.fixture
def some(archive) -> list[Path]:
    return sorted(archive.glob("*.dcm"))


def test_headers_of_every_encoding(some):
    for path in some:
        header, known = read_header(path), dcmread(path, stop_before_pixels=True)
        assert header[:3] == (known.StudyInstanceUID, known.SeriesInstanceUID, known.SOPInstanceUID)
        assert header.syntax == known.file_meta.TransferSyntaxUID
        assert path.read_bytes()[header.begins :].startswith(b"\x08\x00\x05\x00"), "the character set comes first"


def test_a_deflated_header_is_read_without_inflating_what_follows(tmp_path):
    made = one(0, 0, "1.2.3", "1.2.3.4", "p")
    made.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    made.PixelData = bytes(1 << 28)  # 256 MB of zeros, 260 KB deflated
    made.save_as(tmp_path / "bomb.dcm", enforce_file_format=True)
    del made
    import tracemalloc

    tracemalloc.start()
    assert read_header(tmp_path / "bomb.dcm").series == "1.2.3.4"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


@pytest.mark.parametrize("cut", [0, 100, 140, 200, 400])
def test_what_is_no_dicom_is_refused_and_leaves_nothing(tmp_path, some, cut):
    with pytest.raises(DataError, match="What came"):
        settle(Folder(tmp_path), some[0].read_bytes()[:cut])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", ["../../../etc/passwd", "", "1.2/3", "1.2\\3"])
def test_an_identifier_that_could_be_a_path_is_refused(tmp_path, bad):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = one(0, 0, "1.2.3", "1.2.3.4", "p")
        made.StudyInstanceUID = bad
        made.save_as(tmp_path / "bad", enforce_file_format=True)
    (tmp_path / "out").mkdir()  # and no warning in what follows, which would hold the value
    with pytest.raises(DataError, match="What came has no proper StudyInstanceUID"):
        settle(Folder(tmp_path / "out"), (tmp_path / "bad").read_bytes())


def test_an_instance_is_kept_as_it_came_under_hashes(tmp_path, some):
    folder = Folder(tmp_path)
    for path in some:
        header, outcome = settle(folder, path.read_bytes())
        assert outcome == "new"
        assert folder.path(*header[:3]).read_bytes() == path.read_bytes()
        assert folder.has(*header[:3])
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.dcm")]
    assert len(names) == len(some)
    assert all(re.fullmatch(r"[0-9a-f]{24}/[0-9a-f]{24}/[0-9a-f]{24}\.dcm", name) for name in names)


def test_the_same_again_and_another_of_the_same_uid(tmp_path):
    first, second = (one(0, 0, "1.2.3", "1.2.3.4", "p") for _ in range(2))
    second.PatientComments = "corrected"
    data = []
    for made in (first, second):
        made.save_as(tmp_path / "made", enforce_file_format=True)
        data.append((tmp_path / "made").read_bytes())
    (tmp_path / "made").unlink()
    folder = Folder(tmp_path)
    header, _ = settle(folder, data[0])
    place = folder.path(*header[:3])
    assert settle(folder, data[0])[1] == "there"
    assert settle(folder, data[1])[1] == "differs"
    assert place.read_bytes() == data[0]
    assert settle(Folder(tmp_path, replace=True), data[1])[1] == "replaced"
    assert place.read_bytes() == data[1]
    assert len(list(tmp_path.rglob("*"))) == 3


def test_other_meta_information_is_no_other_instance(tmp_path, some):
    folder, data = Folder(tmp_path), some[0].read_bytes()
    settle(folder, data)
    again = dcmread(some[0])
    again.file_meta.ImplementationVersionName = "OTHER_SENDER_99"
    again.save_as(tmp_path / "again")
    assert settle(folder, (tmp_path / "again").read_bytes())[1] == "there"


@pytest.mark.parametrize("operation", ["write", "sync", "replace", "sync_folder"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, some, operation):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "injected")

    folder = Folder(tmp_path)
    monkeypatch.setattr(files._disk, operation, full)
    with pytest.raises(StorageError, match="full"):
        settle(folder, some[0].read_bytes())
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    if operation == "sync_folder":  # the rename came before
        assert [path.read_bytes() for path in left] == [some[0].read_bytes()]
    else:
        assert left == []


def test_a_folder_of_something_else_is_refused_and_leftovers_go(tmp_path, some):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("do not touch")
    with pytest.raises(StorageError, match="holds something else"), held(tmp_path / "other"):
        pass
    with held(tmp_path / "new") as folder:
        settle(folder, some[0].read_bytes())
    (tmp_path / "new" / ".3.99999.part").write_bytes(b"killed")
    with held(tmp_path / "new") as folder:
        assert not list(folder.root.glob(".*.part"))
        assert len(list(folder.root.rglob("*.dcm"))) == 1
        with pytest.raises(StorageError, match="in use"), held(tmp_path / "new"):
            pass
    assert CANARY not in (tmp_path / "new" / MARK).read_text()
    assert PATIENT not in (tmp_path / "new" / MARK).read_text()


def test_zlib_limits_what_it_inflates():
    """The library's promise that the header of a deflated file rests on."""
    deflated = zlib.compress(bytes(1 << 20))
    assert len(zlib.decompressobj().decompress(deflated, 1000)) == 1000
