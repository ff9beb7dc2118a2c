"""Against other people's software: Orthanc with its DICOMweb plug-in, and DCMTK. `make test-pacs` installs them.

Every file is compared, data set byte by data set byte, with what was sent. Orthanc and dcmqrscp keep what they got in
the encoding in which they got it, so that nothing but the file meta information may differ.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.pacs, pytest.mark.timeout(300)]
pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")
pytest.importorskip("dicomweb_client", reason="the extra 'pacs' is not installed")

from pydicom import dcmread  # noqa: E402

from .conftest import CANARY, PATIENT, SERIES, by_uid, data_set, free_port  # noqa: E402  isort: skip

MEDSSL = [sys.executable, "-c", "from medssl.cli.main import main; main()"]
SYNTAX_OPTIONS = {  # storescu offers one compressed syntax a call
    "1.2.840.10008.1.2.1": "-xe", "1.2.840.10008.1.2": "-xi", "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv", "1.2.840.10008.1.2.5": "-xr",
}  # fmt: skip
HELD = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80")  # dcmqrscp takes one compressed syntax
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"there is no {name} here; make test-pacs installs it")
    return found


def syntax(path):
    return str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)


def wait_for(true, seconds=30):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


def medssl(*arguments, **environment):
    command = [*MEDSSL, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=200
    )


def storescu(paths, port, called, calling="STORESCU"):
    """Send files with DCMTK, each in the encoding that it has; return the output and whether all went well."""
    said, fine = "", True
    for kind, option in SYNTAX_OPTIONS.items():
        chosen = [str(path) for path in paths if syntax(path) == kind]
        if chosen:
            command = [tool("storescu"), "-v", "-R", option, "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
            done = subprocess.run([*command, *chosen], capture_output=True, text=True, check=False)
            said, fine = said + done.stdout + done.stderr, fine and done.returncode == 0
    return said, fine


class Pacs:
    """A PACS that runs: how it is called, where it expects our storage SCP, and what it holds."""

    def __init__(self, aet, port, our_port, process, held, web=None):
        self.aet, self.port, self.our_port, self.process = aet, port, our_port, process
        self.held, self.web = held, web

    def source(self, how):
        return self.web if how == "web" else f"{self.aet}@127.0.0.1:{self.port}"

    def options(self, how):
        return ["--move", self.our_port, "--bind", "127.0.0.1"] if how == "move" else []


@contextmanager
def running(command, folder, ready):
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        wait_for(lambda: ready() if process.poll() is None else pytest.fail((folder / "log").read_text()[-2000:]))
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def orthanc(archive, tmp_path_factory):
    """Orthanc with its DICOMweb plug-in on ports of this machine alone, filled by storescu."""
    program, folder = tool("Orthanc"), tmp_path_factory.mktemp("orthanc")
    http, dicom, ours = free_port(), free_port(), free_port()
    settings = {
        "Name": "test", "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"),
        "HttpPort": http, "DicomPort": dicom, "DicomAet": "ORTHANC", "DicomCheckCalledAet": True,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True,
        "DicomModalities": {"medssl": ["MEDSSL", "127.0.0.1", ours]},
        "Plugins": [str(PLUGIN)] if PLUGIN.exists() else [], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))

    def ready():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{http}/system", timeout=2).status == 200
        except OSError:
            return False

    with running([program, folder / "orthanc.json"], folder, ready) as process:
        said, fine = storescu(sorted(archive.glob("*.dcm")), dicom, "ORTHANC")
        assert fine, said
        web = f"http://127.0.0.1:{http}/dicom-web" if PLUGIN.exists() else None
        yield Pacs("ORTHANC", dicom, ours, process, by_uid(archive), web)


@pytest.fixture(scope="module")
def dcmqrscp(archive, tmp_path_factory):
    """DCMTK's archive, filled by storescu."""
    program, folder = tool("dcmqrscp"), tmp_path_factory.mktemp("dcmqrscp")
    port, ours = free_port(), free_port()
    (folder / "store").mkdir()
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nDisplay = no\n"
        f"HostTable BEGIN\nours = (MEDSSL, 127.0.0.1, {ours})\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {folder}/store RW (2000, 1024mb) ANY\nAETable END\n"
    )

    def ready():
        command = [tool("echoscu"), "-aec", "DCMQRSCP", "127.0.0.1", str(port)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    with running([program, "-c", folder / "dcmqrscp.cfg", "+xt", "-xt"], folder, ready) as process:
        held = [path for path in sorted(archive.glob("*.dcm")) if syntax(path) in HELD]
        said, fine = storescu(held, port, "DCMQRSCP")
        assert fine, said
        yield Pacs("DCMQRSCP", port, ours, process, held=by_uid(archive, held))


@pytest.fixture(params=["orthanc-get", "orthanc-move", "orthanc-web", "dcmqrscp-get", "dcmqrscp-move"])
def asked(request):
    """A PACS and how it is asked."""
    name, _, how = request.param.partition("-")
    pacs = request.getfixturevalue(name)
    if pacs.source(how) is None:
        pytest.skip("Orthanc has no DICOMweb plug-in here; make test-pacs installs it")
    return pacs, how


def pull(asked, out, *more):
    pacs, how = asked
    return medssl("pull", pacs.source(how), "-o", out, *pacs.options(how), *more)


def check_same(root, sent, *, reencoded=False):
    """Compare what came with what was sent.

    dcmqrscp sends in the first context of a kind of object that was accepted, and rewrites implicit as explicit VR:
    there elements are compared, and the bytes of all others.
    """
    came = by_uid(root)
    assert came.keys() == sent.keys()
    for uid, path in came.items():
        if reencoded and syntax(sent[uid]) == "1.2.840.10008.1.2":
            assert dcmread(path) == dcmread(sent[uid])
            continue
        assert data_set(path) == data_set(sent[uid]), path
        assert syntax(path) == syntax(sent[uid])
    assert not list(root.rglob("*.part"))


def check_pulled(asked, root):
    check_same(root, asked[0].held, reencoded=asked[0].aet == "DCMQRSCP")


def test_everything_comes_bit_for_bit(asked, tmp_path):
    done = pull(asked, tmp_path / "out", "--everything")
    assert done.returncode == 0, done.stderr
    check_pulled(asked, tmp_path / "out")
    assert f"{len(asked[0].held)} were there already" in pull(asked, tmp_path / "out", "--everything").stdout
    for word in (CANARY, PATIENT, "1.2.826"):
        assert word not in done.stdout + done.stderr


def test_conditions(asked, archive, tmp_path):
    conditions = ["--patient", PATIENT, "--modality", "CT", "DX", "--study-date", "20240101-20240131"]
    done = pull(asked, tmp_path / "out", *conditions)
    assert done.returncode == 0, done.stderr
    sent = {uid: dcmread(path) for uid, path in by_uid(archive).items()}
    wanted = {uid for uid, d in sent.items() if d.PatientID == PATIENT and d.StudyDate == "20240105"}
    assert len(wanted) == SERIES[0][3] + SERIES[1][3]
    check_same(tmp_path / "out", {uid: path for uid, path in asked[0].held.items() if uid in wanted})
    counted = medssl("pull", asked[0].source(asked[1]), "--count", *conditions).stdout
    assert "1 patients, 1 studies, 2 series" in counted


def test_a_killed_pull_goes_on(asked, tmp_path):
    pacs, how = asked
    command = [*MEDSSL, "pull", pacs.source(how), "--everything", "-o", tmp_path / "out", *pacs.options(how),
               "--instances-per-second", "5"]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(list((tmp_path / "out").glob("*/*/*.dcm"))) >= 4)
    process.kill()
    process.wait()
    came = len(list((tmp_path / "out").glob("*/*/*.dcm")))
    assert came < len(asked[0].held)
    done = pull(asked, tmp_path / "out", "--everything")
    assert done.returncode == 0, done.stderr
    assert f"{came} were there already" in done.stdout
    check_pulled(asked, tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_pull_leaves_the_pacs_well(asked, tmp_path, number):
    pacs, how = asked
    command = [*MEDSSL, "pull", pacs.source(how), "--everything", "-o", tmp_path / "out", *pacs.options(how),
               "--instances-per-second", "5"]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for(lambda: len(list((tmp_path / "out").glob("*/*/*.dcm"))) >= 4)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75, said
    assert pull(asked, tmp_path / "out", "--everything").returncode == 0
    check_pulled(asked, tmp_path / "out")


def test_a_pacs_that_hangs_is_left_in_time(asked, tmp_path):
    pacs, _ = asked
    pacs.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        done = pull(asked, tmp_path / "out", "--everything", "--timeout", "2", "--retries", "1")
    finally:
        pacs.process.send_signal(signal.SIGCONT)
    assert done.returncode == 74, done.stderr
    assert time.monotonic() - began < 40
    assert pull(asked, tmp_path / "out", "--everything").returncode == 0


def test_wrong_titles(orthanc, dcmqrscp, tmp_path):
    for pacs in (orthanc, dcmqrscp):
        done = medssl("pull", f"WRONG@127.0.0.1:{pacs.port}", "--everything", "-o", tmp_path / "out")
        assert (done.returncode, "is not called 'WRONG'" in done.stderr) == (65, True), done.stderr
    done = medssl(
        "pull", orthanc.source("get"), "--everything", "--aet", "NOBODY", "--retries", "0", "-o", tmp_path / "o"
    )
    assert done.returncode in (65, 74), "Orthanc lets only nodes that it knows query"


def test_a_destination_that_the_pacs_does_not_know(orthanc, dcmqrscp, tmp_path):
    for pacs in (dcmqrscp,):
        done = medssl("pull", pacs.source("get"), "--everything", "--aet", "NOBODY", "--move", free_port(), "--bind",
                      "127.0.0.1", "-o", tmp_path / "out")  # fmt: skip
        assert done.returncode == 65, done.stderr
        assert "does not know where to send to" in done.stderr


@contextmanager
def receiving(*arguments):
    process = subprocess.Popen(
        [*MEDSSL, "receive", "--bind", "127.0.0.1", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    found = re.search(r"port (\d+)", process.stderr.readline())
    assert found, process.stderr.read()
    process.port, process.said = int(found[1]), None
    yield process
    process.send_signal(signal.SIGTERM)
    process.said = process.communicate(timeout=60)


def test_storescu_sends_to_us(archive, tmp_path):
    with receiving("-o", tmp_path / "out", "--port", 0, "--allow", "STORESCU") as ours:
        echo = [tool("echoscu"), "-aet", "STORESCU", "-aec", "MEDSSL", "127.0.0.1", str(ours.port)]
        assert subprocess.run(echo, check=False).returncode == 0
        said, fine = storescu(sorted(archive.glob("*.dcm")), ours.port, "MEDSSL")
        assert fine, said
        refused, fine = storescu(sorted(archive.glob("*.dcm"))[:1], ours.port, "MEDSSL", "INTRUDER")
        assert not fine
        assert "Calling AE Title Not Recognized" in refused
        refused, fine = storescu(sorted(archive.glob("*.dcm"))[:1], ours.port, "WRONG")
        assert not fine
        assert "Called AE Title Not Recognized" in refused
    assert ours.returncode == 0, ours.said
    assert "2 associations were refused" in ours.said[0]
    check_same(tmp_path / "out", by_uid(archive))


def test_orthanc_sends_to_us(orthanc, archive, tmp_path):
    base = orthanc.web.removesuffix("/dicom-web") if orthanc.web else pytest.skip("needs its REST interface")
    with receiving("-o", tmp_path / "out", "--port", orthanc.our_port, "--allow", "ORTHANC@127.0.0.1") as ours:
        ids = json.loads(urllib.request.urlopen(f"{base}/instances").read())
        body = json.dumps({"Resources": ids, "Synchronous": True}).encode()
        answer = json.loads(urllib.request.urlopen(f"{base}/modalities/medssl/store", data=body).read())
        assert answer["FailedInstancesCount"] == 0, answer
    assert ours.returncode == 0, ours.said
    check_same(tmp_path / "out", by_uid(archive))


def test_a_full_disk_is_told_to_storescu(archive, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", small], capture_output=True, check=False
    ).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with receiving("-o", small / "out", "--port", 0, "--allow", "STORESCU") as ours:
            said, _ = storescu(sorted(archive.glob("*.dcm")), ours.port, "MEDSSL")
            assert "0xa700" in said.lower() or "Refused: OutOfResources" in said, said
        assert ours.returncode == 74, ours.said
        assert "The disk is full" in ours.said[1]
        came, sent = by_uid(small), by_uid(archive)
        assert 1 <= len(came) < 20
        for uid, path in came.items():
            assert data_set(path) == data_set(sent[uid])
        assert not list(small.rglob("*.part"))
    finally:
        subprocess.run(["umount", small], check=True)
