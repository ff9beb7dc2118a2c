"""A pull from a node and from a DICOMweb service: bit for bit, resumable, patient, and within limits."""

import time
from datetime import datetime, timedelta

import pytest

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")
pytest.importorskip("dicomweb_client", reason="the extra 'pacs' is not installed")

from medssl.data.pacs import pulling
from medssl.data.pacs.association import Peer
from medssl.data.pacs.dicomweb import DicomWeb
from medssl.data.pacs.dimse import Dimse
from medssl.data.pacs.folder import held
from medssl.data.pacs.pulling import Manners, complete, find, pull
from medssl.data.pacs.receiving import Allowed, Receiver
from medssl.data.pacs.trouble import waiting
from medssl.data.pacs.wanted import Wanted
from medssl.data.pacs.window import parse_window
from medssl.errors import DataError, StoppedError, StorageError

from .conftest import CANARY, PATIENT, SERIES, by_uid, data_set, free_port  # isort: skip

TOTAL = 20


class Slept:
    """A clock that sleeping moves; nothing waits."""

    def __init__(self, start="2026-03-01 12:00"):
        self.time, self.naps, self.then = datetime.fromisoformat(start), [], None

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.time += timedelta(seconds=seconds)
        if self.then:
            self.then()


@pytest.fixture(params=["get", "move", "web"])
def source(request):
    """A source, and the stand-in behind it."""
    if request.param == "web":
        web = request.getfixturevalue("web")
        yield DicomWeb(web.url, timeout=5, page=3), web
        return
    node = request.getfixturevalue("node")
    peer = Peer("NODE", "127.0.0.1", node.port)
    if request.param == "get":
        yield Dimse(peer, "MEDSSL", timeout=5), node
        return
    with Receiver("MEDSSL", 0, [Allowed("NODE", "127.0.0.1")], bind="127.0.0.1") as receiver:
        node.destination = receiver.port
        yield Dimse(peer, "MEDSSL", timeout=5, move_to=receiver), node


def fetched(source, root, wanted=Wanted(), manners=None, progress=None):  # noqa: B008
    manners = manners or Manners(sleep=Slept().sleep)
    with held(root) as folder:
        return pull(source, find(source, wanted, manners, progress), folder, manners, progress)


def check_same(root, archive, count=TOTAL):
    came, sent = by_uid(root), by_uid(archive)
    assert len(came) == count
    for uid, path in came.items():
        assert data_set(path) == data_set(sent[uid])
    assert not list(root.rglob("*.part"))


def test_everything_comes_bit_for_bit_and_once(source, archive, tmp_path):
    result = fetched(source[0], tmp_path / "out")
    assert (result.wanted, result.already, result.counts.new, result.missing) == (TOTAL, 0, TOTAL, [])
    check_same(tmp_path / "out", archive)
    assert CANARY.lower() not in " ".join(map(str, (tmp_path / "out").rglob("*"))).lower()
    before = list(source[1].asked)
    again = fetched(source[0], tmp_path / "out")
    assert (again.already, again.counts.new) == (TOTAL, 0)
    after = source[1].asked[len(before) :]
    assert not [a for a in after if a.startswith(("get", "move"))], "what is there is not asked for again"
    complete(again)


def test_conditions_narrow_what_comes(source, archive, tmp_path):
    wanted = Wanted(patients=(PATIENT,), modalities=("CT",), dates=("20240101", "20240131"))
    result = fetched(source[0], tmp_path / "out", wanted)
    assert result.counts.new == SERIES[0][3] + SERIES[1][3]


def test_an_archive_that_ignores_a_key_is_held_to_it(node, tmp_path):
    node.ignore_keys = True
    said = []
    source = Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=5)
    found = find(source, Wanted(patients=("MRN-2",)), Manners(), lambda kind, values: said.append(values["text"]))
    assert [one.patient_id for one in found] == ["MRN-2"]
    assert "5 series of the PACS's answer do not meet what was asked" in said[0]


def test_only_what_is_missing_of_a_series_is_asked_for(source, archive, tmp_path):
    fetched(source[0], tmp_path / "out")
    came = [path for path in (tmp_path / "out").rglob("*.dcm") if len(list(path.parent.iterdir())) > 2]
    gone = [came[0], next(path for path in came if path.parent != came[0].parent)]
    for path in gone:
        path.unlink()
    before = len(source[1].asked)
    result = fetched(source[0], tmp_path / "out")
    assert result.counts.new == 2
    check_same(tmp_path / "out", archive)
    asked = [a for a in source[1].asked[before:] if a.startswith(("get", "move")) or ("instances/" in a)]
    assert len(asked) == 2, "of each series the missing one alone"


@pytest.mark.parametrize("kind", ["get", "web"])
def test_an_answer_that_ends_early_is_gone_on_with(kind, request, archive, tmp_path):
    clock = Slept()
    if kind == "web":
        web = request.getfixturevalue("web")
        source, web.cut = DicomWeb(web.url, timeout=5), 8000
    else:
        node = request.getfixturevalue("node")
        source, node.die_after = Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=5), 2
    said = []
    result = fetched(
        source, tmp_path / "out", manners=Manners(sleep=clock.sleep), progress=lambda k, v: said.append(v.get("text"))
    )
    assert result.counts.new == TOTAL
    assert result.counts.there == 0, "what had come before the end was not sent again"
    check_same(tmp_path / "out", archive)
    assert sum("trying again in 1 s" in text for text in said if text) == 1


def test_a_missing_closing_delimiter_is_an_early_end(web, archive, tmp_path):
    web.torn = True
    result = fetched(DicomWeb(web.url, timeout=5), tmp_path / "out")
    assert result.counts.new == TOTAL
    check_same(tmp_path / "out", archive)


def test_a_busy_service_is_left_alone_as_long_as_it_asks(web, tmp_path):
    clock = Slept()
    web.statuses = [(503, {"Retry-After": "7"}), (429, {}), (503, {"Retry-After": "100000"})]
    fetched(DicomWeb(web.url, timeout=5), tmp_path / "out", manners=Manners(sleep=clock.sleep))
    assert sum(clock.naps) == pytest.approx(7 + 2 + 600)


def test_a_service_that_stays_busy_is_given_up(web, tmp_path):
    clock = Slept()
    web.statuses = [(503, {})] * 99
    with pytest.raises(StorageError, match=r"answered 503.*Repeat the command"):
        fetched(DicomWeb(web.url, timeout=5), tmp_path / "out", manners=Manners(retries=3, sleep=clock.sleep))
    assert clock.naps == [1, 1, 1, 1, 1, 1, 1], "1, 2 and 4 seconds in naps"
    assert not (tmp_path / "out" / "from-pacs.json").exists() or not by_uid(tmp_path / "out")


@pytest.mark.parametrize(
    ("attempt", "after", "seconds"), [(1, None, 1), (3, None, 4), (20, None, 60), (1, 5, 5), (4, 5, 8)]
)
def test_waiting_doubles(attempt, after, seconds):
    assert waiting(attempt, after) == seconds


def test_a_server_that_hangs_is_given_up_in_time(source, tmp_path):
    archive, stand_in = source
    if isinstance(archive, DicomWeb):
        archive._timeout = archive._client._timeout = 0.3
    else:
        archive.timeout = 0.3
    stand_in.hang = 2.0
    began = time.monotonic()
    with pytest.raises(StorageError, match="did not answer"):
        fetched(archive, tmp_path / "out", manners=Manners(retries=1, sleep=Slept().sleep))
    assert time.monotonic() - began < 8


def test_instances_that_cannot_be_had_are_named_and_the_rest_comes(source, archive, tmp_path):
    stand_in = source[1]
    lost = sorted(by_uid(archive))[3]
    (stand_in.gone if hasattr(stand_in, "gone") else stand_in.refuse).add(lost)
    result = fetched(source[0], tmp_path / "out")
    assert (result.counts.new, len(result.missing)) == (TOTAL - 1, 1)
    with pytest.raises(StorageError, match="1 of 20 instances did not come"):
        complete(result)
    assert lost not in result.missing[0]


def test_one_series_that_fails_does_not_end_the_pull_but_a_dead_archive_does(node, tmp_path, monkeypatch):
    source = Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=5)
    manners = Manners(retries=1, sleep=Slept().sleep)
    series = find(source, Wanted(), manners)
    honest = source.instances

    def failing(bad):
        def instances(one):
            if one.series in bad:
                raise pulling.PassingError("no answer")
            return honest(one)

        return instances

    monkeypatch.setattr(source, "instances", failing({series[1].series}))
    with held(tmp_path / "a") as folder:
        result = pull(source, series, folder, manners)
    assert result.given_up == 1
    assert result.counts.new == TOTAL - len(honest(series[1]))
    with pytest.raises(StorageError, match="1 series were given up"):
        complete(result)
    monkeypatch.setattr(source, "instances", failing({one.series for one in series[2:]}))
    with held(tmp_path / "b") as folder, pytest.raises(StorageError, match="no answer"):
        pull(source, series, folder, manners)


def test_being_told_to_stop_keeps_what_came(source, archive, tmp_path):
    root = tmp_path / "out"
    stop = Manners(stop=lambda: "Stopped by SIGTERM" if len(list(root.rglob("*.dcm"))) >= 3 else None)
    with pytest.raises(
        StoppedError, match=r"Stopped by SIGTERM; what came is complete, repeat the command to go on \(\d+"
    ):
        fetched(source[0], root, manners=stop)
    came = len(by_uid(root))
    assert 3 <= came < TOTAL
    check_same(root, archive, came)
    assert fetched(source[0], root).counts.new == TOTAL - came
    check_same(root, archive)


def test_the_window_is_waited_for_and_ends_the_pull(source, archive, tmp_path):
    clock = Slept("2026-03-01 21:59")
    manners = Manners(
        between=parse_window("22:00-22:10"), instances=1 / 60, now=clock.now, sleep=clock.sleep
    )  # one a minute, as the real clock of the limit stands still
    said = []
    with pytest.raises(StoppedError, match="window of --between has closed") as told:
        fetched(source[0], tmp_path / "out", manners=manners, progress=lambda k, v: said.append(v.get("text")))
    assert told.value.exit_code == 75
    assert "waiting until 22:00" in said
    assert clock.time >= datetime(2026, 3, 1, 22, 10)
    came = len(by_uid(tmp_path / "out"))
    assert 1 <= came < TOTAL
    check_same(tmp_path / "out", archive, came)


def test_waiting_for_the_window_can_be_ended(web, tmp_path):
    clock = Slept("2026-03-01 12:00")
    asked = []
    clock.then = lambda: asked.append(1)
    manners = Manners(
        between=parse_window("22:00-06:00"), now=clock.now, sleep=clock.sleep, stop=lambda: "Stopped" if asked else None
    )
    with pytest.raises(StoppedError, match="before the window opened"):
        fetched(DicomWeb(web.url, timeout=5), tmp_path / "out", manners=manners)
    assert web.asked == []


def test_no_answer_is_lost_to_the_library_s_own_thread(node, monkeypatch):
    import threading

    import pynetdicom.association

    class Slow(threading.Event):
        """What a busy machine does: a thread that was woken goes on later."""

        def wait(self, timeout=None):
            woken = super().wait(timeout)
            time.sleep(0.03)
            return woken

    class Later(pynetdicom.association.Association):
        def __init__(self, *given):
            super().__init__(*given)
            self._reactor_checkpoint = Slow()
            self._reactor_checkpoint.set()

        def send_c_find(self, *given, **named):
            responses = super().send_c_find(*given, **named)
            time.sleep(0.06)  # the thread that was woken before may look for messages now
            return responses

    source = Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=1)
    monkeypatch.setattr("pynetdicom.ae.Association", Later)
    series = find(source, Wanted(), Manners(retries=0))
    assert len(series) == 6


def test_a_shorter_list_than_was_promised_is_asked_for_again(node, tmp_path, monkeypatch):
    from dataclasses import replace

    source = Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=5)
    series = [replace(one, instances=99) for one in find(source, Wanted(modalities=("MR",)), Manners())]
    said = []
    node.asked.clear()
    with held(tmp_path / "out") as folder:
        pull(source, series, folder, Manners(), lambda kind, values: said.append(values.get("text")))
    assert node.asked == ["find IMAGE", "find IMAGE", "get SERIES 4"]
    assert "the PACS said 99 instances of a series, but lists 4" in said


def test_nothing_wanted_is_said(source, tmp_path):
    with pytest.raises(DataError, match="nothing that is wanted"):
        fetched(source[0], tmp_path / "out", Wanted(patients=("nobody",)))


def test_nothing_that_is_said_names_a_patient(source, tmp_path):
    said = []
    fetched(source[0], tmp_path / "out", progress=lambda kind, values: said.append(str(values)))
    source[1].hang = 0
    assert said
    for word in (CANARY, PATIENT, "1.2.826"):
        assert word not in " ".join(said)


def test_a_full_disk_ends_the_pull_and_leaves_nothing_half_written(source, archive, tmp_path, monkeypatch):
    import errno

    from medssl import files

    honest, count = files._disk.write, []

    def filling(handle, data):
        count.append(1)
        if len(count) > 7 and len(data) > 1000:
            raise OSError(errno.ENOSPC, "injected")
        honest(handle, data)

    monkeypatch.setattr(files._disk, "write", filling)
    with pytest.raises(StorageError, match="disk is full"):
        fetched(source[0], tmp_path / "out")
    monkeypatch.undo()
    came = len(by_uid(tmp_path / "out"))
    check_same(tmp_path / "out", archive, came)
    assert fetched(source[0], tmp_path / "out").counts.new == TOTAL - came
    check_same(tmp_path / "out", archive)


def test_moved_instances_of_others_are_refused(node, tmp_path):
    with Receiver("MEDSSL", free_port(), [Allowed("SOMEBODY")], bind="127.0.0.1") as receiver:
        node.destination = receiver.port
        source = Dimse(Peer("NODE", "127.0.0.1", node.port), "MEDSSL", timeout=5, move_to=receiver)
        with pytest.raises((StorageError, DataError)):
            complete(fetched(source, tmp_path / "out"))
        assert receiver.refused
    assert by_uid(tmp_path / "out") == {}


def test_a_destination_that_the_pacs_does_not_know_is_said(node, tmp_path):
    with Receiver("OTHER", 0, [Allowed("NODE")], bind="127.0.0.1") as receiver:
        source = Dimse(Peer("NODE", "127.0.0.1", node.port), "OTHER", timeout=5, move_to=receiver)
        with pytest.raises(DataError, match=r"does not know where to send to.*our AE title 'OTHER' entered there"):
            fetched(source, tmp_path / "out")
