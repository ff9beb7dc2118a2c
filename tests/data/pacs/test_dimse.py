"""DIMSE: addresses, refusals, and what a PACS says that is not as it should be."""

import subprocess
import sys
import time

import pytest

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")

from pydicom import Dataset

from medssl.data.pacs.association import Peer, check_aet, parse_peer
from medssl.data.pacs.dimse import Dimse, described
from medssl.data.pacs.trouble import PassingError
from medssl.errors import DataError, SettingsError

from .conftest import PATIENT  # isort: skip


def test_addresses_of_nodes():
    assert parse_peer("ARCHIVE@pacs.hospital:104") == Peer("ARCHIVE", "pacs.hospital", 104)
    assert parse_peer("MY PACS@10.0.0.1:11112") == Peer("MY PACS", "10.0.0.1", 11112)
    assert parse_peer("A@[::1]:104") == Peer("A", "::1", 104)
    for bad in (
        "ARCHIVE",
        "ARCHIVE@host",
        "@host:104",
        "A" * 17 + "@h:1",
        "A@h:0",
        "A@h:70000",
        "A\\B@h:1",
        "https://x/y",
    ):
        assert parse_peer(bad) is None


def test_ae_titles():
    assert check_aet(" MEDSSL ", "--aet") == "MEDSSL"
    for bad in ("", "  ", "A" * 17, "A\\B", "Ä", "A\nB"):
        with pytest.raises(SettingsError, match="1 to 16"):
            check_aet(bad, "--aet")


def test_a_wrong_called_title_and_nobody_there(node):
    with pytest.raises(DataError, match=r"is not called 'WRONG'.*Ask its administrator"):
        Dimse(Peer("WRONG", "127.0.0.1", node.port), "MEDSSL", timeout=5).check()
    with pytest.raises(PassingError, match="Check address and port"):
        Dimse(Peer("NODE", "127.0.0.1", 9), "MEDSSL", timeout=5).check()
    node.entity.require_calling_aet = ["SOMEBODY"]
    with pytest.raises(DataError, match="does not know the calling AE title 'MEDSSL'"):
        Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=5).check()


def test_a_port_that_accepts_and_says_nothing_is_left_in_time():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(PassingError):
            Dimse(Peer("NODE", "127.0.0.1", silent.getsockname()[1]), "MEDSSL", timeout=0.3).check()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(("status", "kind"), [(0xA701, PassingError), (0xA900, DataError)])
def test_what_a_pacs_answers_to_a_retrieve(node, tmp_path, status, kind):
    from medssl.data.pacs.folder import Folder
    from medssl.data.pacs.landing import Landing

    node.status = status
    source = Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=5)
    series = next(iter(source.series({})))
    with pytest.raises(kind, match=f"0x{status:04X}"):
        source.fetch(series, None, source.instances(series), Landing(Folder(tmp_path)))


def test_keys_reach_the_pacs(node):
    source = Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=5)
    found = list(source.series({"PatientID": PATIENT, "StudyDate": "20240201-20240228"}))
    assert {one.modality for one in found} == {"MR", "DX"}
    assert {one.study_date for one in found} == {"20240210"}
    assert {one.accession for one in found} == {"ACC20240210"}
    assert {one.body_part for one in found} == {"CHEST"}


def test_values_that_break_the_standard_are_taken_without_a_word(recwarn):
    study, series = Dataset(), Dataset()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.StudyInstanceUID, study.PatientID, study.StudyDate = "1.2", "x" * 99, "not a date"
        series.SeriesInstanceUID, series.Modality, series.NumberOfSeriesRelatedInstances = "1.2.3", None, None
    found = described(study, series)
    assert found.patient_id == "x" * 99
    assert found.modality == ""
    assert found.instances is None
    assert not recwarn.list


def test_without_the_extra_a_sentence_says_what_to_install():
    code = (
        "import sys; sys.modules['pynetdicom'] = None\n"
        "sys.argv[1:] = ['pull', 'A@127.0.0.1:1', '--everything', '--count']\n"
        "from medssl.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'medssl[pacs]'" in done.stderr
    assert "Traceback" not in done.stderr
