"""`medssl pull` and `medssl receive` as a person runs them, one against the other's kind on this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")
pytest.importorskip("dicomweb_client", reason="the extra 'pacs' is not installed")

from tests.data.pacs.conftest import CANARY, PATIENT, archive, by_uid, node, quiet, web  # noqa: F401  fixtures

MEDSSL = [sys.executable, "-c", "from medssl.cli.main import main; main()"]


def medssl(*arguments, **environment):
    command = [*MEDSSL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_pull_by_dicomweb_and_again_and_scan(web, tmp_path):  # noqa: F811
    asked = ["pull", web.url, "--study-date", "20240101-20241231", "-o", tmp_path / "out"]
    done = medssl(*asked)
    assert done.returncode == 0, done.stderr
    assert "the PACS has 2 patients, 4 studies, 6 series" in done.stdout
    assert "fetched 20 instances" in done.stdout
    assert done.stdout.rstrip().endswith(f"next: medssl scan {tmp_path / 'out'} -o manifest.parquet")
    assert "20 were there already" in medssl(*asked).stdout
    scanned = medssl("scan", tmp_path / "out", "-o", tmp_path / "m.csv")
    assert "20 files (24 ok, 0 unreadable" in scanned.stdout
    for word in (CANARY, PATIENT, "1.2.826"):
        assert word not in done.stdout + done.stderr


def test_counting_writes_nothing(node, tmp_path):  # noqa: F811
    asked = ["pull", f"NODE@127.0.0.1:{node.port}", "--modality", "CT", "MR", "--where", "study_date > '20240201'"]
    done = medssl(*asked, "--count", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 patients, 1 studies, 1 series, at least 0 instances (1 series do not say how many)" in done.stdout
    assert not (tmp_path / "out").exists()
    assert not [one for one in node.asked if one.startswith("get")]


def test_patients_of_a_file(node, tmp_path):  # noqa: F811
    (tmp_path / "ids.txt").write_text("\ufeffMRN-2\n\nnobody\n")
    asked = ["pull", f"NODE@127.0.0.1:{node.port}", "--patients", tmp_path / "ids.txt", "--count"]
    assert "1 patients, 1 studies, 1 series" in medssl(*asked).stdout
    (tmp_path / "ids.txt").write_text("\n")
    assert medssl(*asked).returncode == 65


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A@h:1"], "This would fetch all that the PACS has"),
        (["A@h:1", "--everything"], "no folder to write to"),
        (["pacs", "--everything", "--count"], "'pacs' is no PACS"),
        (["A@h:1", "--everything", "--count", "--between", "22-6"], "22:00-06:00"),
        (["A@h:1", "--everything", "--count", "--where", "modalty == 'CT'"], "did you mean 'modality'"),
        (["http://pacs.hospital/x", "--everything", "--count"], "--plain-http"),
        (["A@h:1", "--everything", "--count", "--aet", "A\\B"], "1 to 16"),
    ],
)
def test_what_is_refused_before_anybody_is_asked(arguments, said):
    done = medssl("pull", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_wrong_title_is_bad_input(node, tmp_path):  # noqa: F811
    done = medssl("pull", f"WRONG@127.0.0.1:{node.port}", "--everything", "-o", tmp_path / "out")
    assert done.returncode == 65
    assert "The PACS is not called 'WRONG'" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 75), (signal.SIGKILL, -9)])
def test_an_interrupted_pull_goes_on(web, archive, tmp_path, number, code):  # noqa: F811
    asked = [*MEDSSL, "pull", web.url, "--everything", "-o", str(tmp_path / "out")]
    slow = subprocess.Popen([*asked, "--instances-per-second", "4"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(list((tmp_path / "out").glob("*/*/*.dcm"))) >= 3)
    slow.send_signal(number)
    said = slow.communicate(timeout=20)[1]
    assert slow.returncode == code
    if code == 75:
        assert "repeat the command to go on" in said
    came = len(list((tmp_path / "out").glob("*/*/*.dcm")))
    assert 3 <= came < 20
    done = medssl(*asked[3:])
    assert done.returncode == 0, done.stderr
    assert f"fetched {20 - came} instances" in done.stdout
    assert by_uid(tmp_path / "out").keys() == by_uid(archive).keys()


def wait_for(true, seconds=30):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def started(*arguments):
    """A receiver of its own process, and its port."""
    process = subprocess.Popen(
        [*MEDSSL, "receive", "--port", "0", "--bind", "127.0.0.1", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stderr.readline()
    found = re.search(r"listening as (\S+) at 127.0.0.1, port (\d+)", line)
    assert found, line + process.stderr.read()
    return process, int(found[2])


def store(port, paths, aet="SENDER", called="MEDSSL"):
    from pydicom import dcmread

    from medssl.data.pacs.association import Peer, associated, hold
    from medssl.data.pacs.extra import pynetdicom

    heads = [dcmread(path, stop_before_pixels=True) for path in paths]
    offers = {(head.SOPClassUID, head.file_meta.TransferSyntaxUID) for head in heads}
    offers = [pynetdicom().build_context(*offer) for offer in offers]
    with associated(Peer(called, "127.0.0.1", port), aet, offers, timeout=10) as association:
        statuses = []
        for path in paths:
            hold(association)
            statuses.append(association.send_c_store(path).Status)
        return statuses


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_receive_until_told_to_stop(archive, tmp_path, number):  # noqa: F811
    process, port = started("-o", tmp_path / "out", "--allow", "SENDER", "OTHER@127.0.0.1")
    paths = sorted(archive.glob("*.dcm"))
    from medssl.errors import DataError

    assert set(store(port, paths[:12])) == {0}
    assert set(store(port, paths[10:], "OTHER")) == {0}
    with pytest.raises(DataError):
        store(port, paths[:1], "INTRUDER")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "ended: told to stop" in out
    assert "received 20 instances" in out
    assert "2 were there already, 0 differed from the one here, 1 associations were refused" in out
    assert "refused an association of 'INTRUDER' at 127.0.0.1" in err
    assert by_uid(tmp_path / "out").keys() == by_uid(archive).keys()
    for word in (CANARY, PATIENT, "1.2.826"):
        assert word not in out + err


def test_receive_ends_by_itself_and_goes_on_in_its_folder(archive, tmp_path):  # noqa: F811
    paths = sorted(archive.glob("*.dcm"))
    for k, part in enumerate((paths[:5], paths[5:])):
        process, port = started("-o", tmp_path / "out", "--allow", "SENDER", "--until-idle", "0.5", "--for", "60")
        assert set(store(port, part)) == {0}
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert "ended: nothing came for 0.5 s" in out
        assert len(list((tmp_path / "out").rglob("*.dcm"))) == (5, 20)[k]
    process, port = started("-o", tmp_path / "out", "--allow", "SENDER", "--for", "0.3")
    assert "ended: 0.3 s are over" in process.communicate(timeout=20)[0]


def test_receive_needs_to_know_who_may_send_and_a_free_port(tmp_path):
    done = medssl("receive", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "Nobody is allowed to send" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = medssl("receive", "-o", tmp_path / "out", "--allow", "A", "--bind", "127.0.0.1", "--port", port)
    assert done.returncode == 74
    assert "Cannot listen" in done.stderr
    assert not (tmp_path / "out").exists()


def test_one_folder_has_one_writer(archive, tmp_path):  # noqa: F811
    process, _ = started("-o", tmp_path / "out", "--allow", "SENDER", "--for", "30")
    done = medssl("receive", "-o", tmp_path / "out", "--allow", "A", "--port", "0", "--bind", "127.0.0.1")
    process.terminate()
    process.communicate(timeout=20)
    assert done.returncode == 74
    assert "in use" in done.stderr


def test_both_are_in_the_help():
    shown = medssl("--help").stdout
    assert "\n  pull " in shown
    assert "\n  receive " in shown
