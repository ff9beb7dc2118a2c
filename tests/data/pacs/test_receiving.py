"""The storage SCP: who may send, what is kept, what the sender is told."""

import errno
import threading
import time
from contextlib import contextmanager, suppress

import pytest

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")

from pydicom import dcmread, uid

from medssl import files
from medssl.data.pacs.association import Peer, Tls, associated, hold
from medssl.data.pacs.extra import pynetdicom
from medssl.data.pacs.folder import Folder
from medssl.data.pacs.landing import Landing
from medssl.data.pacs.receiving import Allowed, Receiver, parse_allowed, serve
from medssl.errors import DataError, SettingsError, StorageError

from .conftest import CANARY, PATIENT, by_uid, data_set  # isort: skip


@contextmanager
def listening(root, allowed=None, **given):
    said = []
    allowed = [Allowed("SENDER")] if allowed is None else allowed
    receiver = Receiver("MEDSSL", 0, allowed, bind="127.0.0.1", tell=said.append, timeout=5, **given)
    receiver.said = said
    root.mkdir(exist_ok=True)
    receiver.landing = Landing(Folder(root))
    with receiver.lands(receiver.landing) as receiver.taker, receiver:
        yield receiver


def contexts(paths):
    pairs = {
        (d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in (dcmread(p, stop_before_pixels=True) for p in paths)
    }
    return [pynetdicom().build_context(*pair) for pair in pairs]


def send(receiver, paths, aet="SENDER", called="MEDSSL", tls=None):
    """The statuses that a sender of these files gets."""
    peer = Peer(called, "localhost" if tls else "127.0.0.1", receiver.port)
    with associated(peer, aet, contexts(paths), timeout=5, tls=tls) as association:
        return [stored(association, path) for path in paths]


def stored(association, path):
    """The status of one file; the library's own thread must not take the answer, see `hold`."""
    hold(association)
    return association.send_c_store(path).Status


@pytest.fixture
def paths(archive):
    return sorted(archive.glob("*.dcm"))


def test_what_is_sent_is_kept_bit_for_bit(paths, archive, tmp_path):
    with listening(tmp_path / "out") as receiver:
        assert set(send(receiver, paths)) == {0}
    came, sent = by_uid(tmp_path / "out"), by_uid(archive)
    assert came.keys() == sent.keys()
    for name, path in came.items():
        assert data_set(path) == data_set(sent[name])
        assert dcmread(path).file_meta.TransferSyntaxUID == dcmread(sent[name]).file_meta.TransferSyntaxUID
    assert receiver.landing.counts.new == len(paths)
    assert receiver.said == []


def test_many_at_once(paths, archive, tmp_path):
    with listening(tmp_path / "out") as receiver:
        found = []
        threads = [threading.Thread(target=lambda: found.append(send(receiver, paths))) for _ in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert [set(statuses) for statuses in found] == [{0}] * 6
    assert by_uid(tmp_path / "out").keys() == by_uid(archive).keys()
    assert (receiver.landing.counts.new, receiver.landing.counts.there) == (20, 100)
    assert not list((tmp_path / "out").rglob("*.part"))


@pytest.mark.parametrize(
    ("aet", "called", "allowed", "said"),
    [
        ("INTRUDER", "MEDSSL", [Allowed("SENDER")], "'INTRUDER' at 127.0.0.1, which is not allowed here (--allow)"),
        ("SENDER", "MEDSSL", [Allowed("SENDER", "10.0.0.7")], "'SENDER' at 127.0.0.1, which is not allowed here"),
        ("SENDER", "WRONG", [Allowed("SENDER")], "'SENDER' at 127.0.0.1, which called 'WRONG' instead of 'MEDSSL'"),
        ("sender", "MEDSSL", [Allowed("SENDER")], "'sender' at 127.0.0.1"),
    ],
)
def test_others_are_refused_with_a_line(paths, tmp_path, aet, called, allowed, said):
    with listening(tmp_path / "out", allowed) as receiver:
        with pytest.raises(DataError, match=r"does not know the calling AE title|is not called"):
            send(receiver, paths[:1], aet, called)
        assert set(send(receiver, paths[:1])) == {0} if allowed == [Allowed("SENDER")] else True
    assert receiver.refused == 1
    assert said in receiver.said[0]


def test_an_allowed_address_lets_in(paths, tmp_path):
    with listening(tmp_path / "out", [Allowed("SENDER", "127.0.0.1")]) as receiver:
        assert send(receiver, paths[:1]) == [0]


def test_too_many_at_once_are_refused_for_now(paths, tmp_path):
    with listening(tmp_path / "out", most=1) as receiver:
        peer = Peer("MEDSSL", "127.0.0.1", receiver.port)
        with (
            associated(peer, "SENDER", contexts(paths), timeout=5),
            pytest.raises(StorageError, match="no more associations for now"),
            associated(peer, "SENDER", contexts(paths), timeout=5),
        ):
            pass
    assert "too many at once" in receiver.said[0]


def test_a_full_disk_is_told_to_the_sender(paths, tmp_path, monkeypatch):
    with listening(tmp_path / "out") as receiver:
        assert send(receiver, paths[:1]) == [0]
        honest = files._disk.write

        def full(handle, data):
            honest(handle, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "injected")

        with monkeypatch.context() as patch:
            patch.setattr(files._disk, "write", full)
            assert send(receiver, paths[1:3]) == [0xA700, 0xA700]
        assert len(by_uid(tmp_path / "out")) == 1
        assert send(receiver, paths[1:3]) == [0, 0], "with space again it goes on"
    assert receiver.taker.failed == 2
    assert "The disk is full" in receiver.said[0]
    assert not list((tmp_path / "out").rglob("*.part"))


def test_the_same_again_and_another_of_its_uid(paths, tmp_path):
    other = dcmread(paths[0])
    other.PatientComments = "corrected"
    other.save_as(tmp_path / "other.dcm")
    with listening(tmp_path / "out") as receiver:
        assert send(receiver, [paths[0], paths[0], tmp_path / "other.dcm"]) == [0, 0, 0x0111]
    counts = receiver.landing.counts
    assert (counts.new, counts.there, counts.differs) == (1, 1, 1)
    (kept,) = by_uid(tmp_path / "out").values()
    assert data_set(kept) == data_set(paths[0])


def test_an_object_without_a_place_is_refused(paths, tmp_path):
    other = dcmread(paths[0])
    del other.SeriesInstanceUID
    other.save_as(tmp_path / "other.dcm")
    with listening(tmp_path / "out") as receiver:
        assert send(receiver, [tmp_path / "other.dcm", paths[0]]) == [0xC000, 0]
    assert "no proper SeriesInstanceUID" in receiver.said[0]


def test_an_instance_that_is_too_large_ends_its_association(tmp_path, paths):
    large = dcmread(paths[0])
    large.Rows, large.Columns = 2048, 1024
    large.PixelData = bytes(2 * 2048 * 1024)
    large.save_as(tmp_path / "large.dcm")
    with listening(tmp_path / "out", largest_mb=2) as receiver:
        peer = Peer("MEDSSL", "127.0.0.1", receiver.port)
        with associated(peer, "SENDER", contexts(paths), timeout=5) as association:
            assert stored(association, paths[0]) == 0
            hold(association)
            assert "Status" not in association.send_c_store(tmp_path / "large.dcm")
        assert send(receiver, paths[:3]) == [0, 0, 0], "small ones still come, however many"
    assert "more than 2 MB" in receiver.said[0]


def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(paths, tmp_path):
    import socket

    with listening(tmp_path / "out") as receiver:
        peer = Peer("MEDSSL", "127.0.0.1", receiver.port)
        with associated(peer, "SENDER", contexts(paths), timeout=5) as association:
            connection = association.dul.socket.socket
            honest = connection.send
            assert honest
            raw = association.dul.socket
            # the first half of a P-DATA-TF that announces more than will come
            raw.send(b"\x04\x00\x00\x00\x40\x00" + b"\x00\x00\x30\x00" + bytes([1, 0]) + bytes(2000))
            connection.shutdown(socket.SHUT_RDWR)
        assert send(receiver, paths[:1]) == [0]
    assert len(by_uid(tmp_path / "out")) == 1
    assert not list((tmp_path / "out").rglob("*.part"))


def test_no_identifier_is_said(paths, tmp_path, capfd, caplog):
    caplog.set_level("DEBUG")
    bad = dcmread(paths[0])
    del bad.SeriesInstanceUID
    bad.save_as(tmp_path / "bad.dcm")
    with listening(tmp_path / "out") as receiver:
        send(receiver, [tmp_path / "bad.dcm", *paths])
    shown = "".join(capfd.readouterr()) + " ".join(receiver.said)
    for word in (CANARY, PATIENT):
        assert word not in shown
        assert word not in caplog.text


def test_being_stopped_finishes_what_is_being_written(paths, tmp_path, monkeypatch):
    honest, began = files._disk.write, threading.Event()

    def slow(handle, data):
        began.set()
        time.sleep(0.2)
        honest(handle, data)

    monkeypatch.setattr(files._disk, "write", slow)

    def cut_off():
        with suppress(Exception):
            send(receiver, paths)

    with listening(tmp_path / "out") as receiver:
        sender = threading.Thread(target=cut_off)
        sender.start()
        assert began.wait(5)
    sender.join()
    came = list((tmp_path / "out").rglob("*.dcm"))
    assert 1 <= len(came) < len(paths)
    assert not list((tmp_path / "out").rglob("*.part"))
    for path in came:
        assert dcmread(path).pixel_array is not None


def test_it_serves_until_it_is_told_to_end(paths, tmp_path):
    with listening(tmp_path / "out") as receiver:
        assert serve(receiver, seconds=0.05) == "0.05 s are over"
        assert serve(receiver, stop=lambda: True) == "told to stop"
        assert serve(receiver, seconds=0.3, idle=0.01) == "0.3 s are over", "before the first association it waits"
        send(receiver, paths[:1])
        assert serve(receiver, seconds=5, idle=0.2) == "nothing came for 0.2 s"


def test_a_port_that_is_taken_is_said(tmp_path):
    with listening(tmp_path / "out") as receiver:
        other = Receiver("MEDSSL", receiver.port, [Allowed("X")], bind="127.0.0.1")
        with pytest.raises(StorageError, match=f"Cannot listen.*port {receiver.port}"), other:
            pass


def test_who_may_send():
    assert parse_allowed("ARCHIVE") == Allowed("ARCHIVE")
    assert parse_allowed("ARCHIVE@10.1.2.3") == Allowed("ARCHIVE", "10.1.2.3")
    for bad in ("", "A" * 17, "A\\B", "ARCHIVE@pacs.hospital", "ARCHIVE@10.1.2.300"):
        with pytest.raises(SettingsError):
            parse_allowed(bad)
    with pytest.raises(SettingsError, match="Nobody is allowed"):
        Receiver("MEDSSL", 0, [])


def test_every_syntax_that_is_read_is_accepted(tmp_path):
    from medssl.data.pacs.contexts import SYNTAXES, accepted, offered

    kinds = {str(context.abstract_syntax): context.transfer_syntax for context in accepted()}
    assert set(kinds[uid.OphthalmicTomographyImageStorage]) == set(SYNTAXES)
    assert len(offered([uid.CTImageStorage])) == len(SYNTAXES)
    for count in (1, 5, 9, 40, 100, 170):
        chosen = list(kinds)[:count]
        assert len(offered(chosen)) <= 126
        if count <= 126:
            assert {str(context.abstract_syntax) for context in offered(chosen)} == set(chosen)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and certificates of a server and a client that it signed."""
    import subprocess

    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    try:
        openssl("version")
    except OSError:
        pytest.skip("there is no openssl here")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("localhost", "client"):
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        (folder / "ext").write_text(f"subjectAltName=DNS:{name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.pem", "-extfile", "ext")  # fmt: skip
    return folder


def test_tls_with_certificates_of_both_sides(paths, tmp_path, certificates):
    here = certificates
    server = Tls(here / "ca.pem", here / "localhost.pem", here / "localhost.key")
    client = Tls(here / "ca.pem", here / "client.pem", here / "client.key")
    with listening(tmp_path / "out", tls=server) as receiver:
        assert send(receiver, paths[:2], tls=client) == [0, 0]
        for other in (None, Tls(here / "ca.pem"), Tls(None, here / "client.pem", here / "client.key")):
            with pytest.raises(StorageError):
                send(receiver, paths[:1], tls=other)
    assert len(by_uid(tmp_path / "out")) == 2


def test_a_client_that_keeps_silent_does_not_keep_others_out(paths, tmp_path, certificates, monkeypatch):
    import socket

    monkeypatch.setattr("medssl.data.pacs.association._HANDSHAKE", 0.3)
    server = Tls(None, certificates / "localhost.pem", certificates / "localhost.key")
    with listening(tmp_path / "out", tls=server) as receiver, socket.create_connection(("127.0.0.1", receiver.port)):
        time.sleep(0.1)
        assert send(receiver, paths[:1], tls=Tls(certificates / "ca.pem")) == [0]


def test_certificates_that_cannot_be_used_are_said(tmp_path):
    (tmp_path / "no.pem").write_text("not a certificate")
    for tls in (Tls(tmp_path / "absent.pem"), Tls(tmp_path / "no.pem"), Tls(None, tmp_path / "no.pem")):
        with pytest.raises(SettingsError, match="certificates cannot be used"):
            tls.context()


def test_where_a_sender_offers_several_syntaxes_in_one_context_ours_is_the_choice(tmp_path):
    both = pynetdicom().build_context(uid.CTImageStorage, [uid.JPEGLSLossless, uid.ExplicitVRLittleEndian])
    with listening(tmp_path / "out") as receiver:
        for compressed, chosen in ((None, uid.ExplicitVRLittleEndian), (True, uid.JPEGLSLossless),
                                   (False, uid.ExplicitVRLittleEndian)):  # fmt: skip
            if compressed is not None:
                receiver.prefer(compressed=compressed)
            peer = Peer("MEDSSL", "127.0.0.1", receiver.port)
            with associated(peer, "SENDER", [both], timeout=5) as association:
                assert association.accepted_contexts[0].transfer_syntax == [chosen]
                assert association.accepted_contexts[0].abstract_syntax == uid.CTImageStorage
        echo = pynetdicom().build_context("1.2.840.10008.1.1")
        with associated(peer, "SENDER", [echo], timeout=5) as association:
            hold(association)
            assert association.send_c_echo().Status == 0
