"""DICOMweb: pages, credentials, what is encrypted, and what each refusal is called."""

import base64
import time
from email.utils import formatdate

import pytest

pytest.importorskip("dicomweb_client", reason="the extra 'pacs' is not installed")

from medssl.data.pacs.dicomweb import DicomWeb
from medssl.data.pacs.session import check_url, retry_after, session
from medssl.data.pacs.trouble import PassingError
from medssl.errors import DataError, SettingsError

from .conftest import CANARY, PATIENT  # isort: skip


@pytest.mark.parametrize("page", [1, 2, 3, 100])
@pytest.mark.parametrize("no_pages", [False, True])
def test_every_page_is_read_once(web, page, no_pages):
    web.page, web.no_pages = page, no_pages
    source = DicomWeb(web.url, timeout=5, page=2)
    series = list(source.series({}))
    assert len(series) == len({one.series for one in series}) == 6
    assert sorted(len(source.instances(one)) for one in series) == [1, 2, 3, 4, 5, 5]
    assert {one.modality for one in series} == {"CT", "MR", "DX", "US"}
    assert {one.patient_id for one in series} == {PATIENT, "MRN-2"}


def test_images_are_asked_for_as_they_are_stored(web, tmp_path):
    from medssl.data.pacs.folder import Folder
    from medssl.data.pacs.landing import Landing

    source = DicomWeb(web.url, timeout=5)
    series = next(iter(source.series({})))
    source.fetch(series, None, {}, Landing(Folder(tmp_path)))
    assert web.headers[-1]["Accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    assert web.headers[-1]["Accept-Encoding"] == "identity"
    assert web.headers[-1]["User-Agent"].startswith("medssl/")


@pytest.mark.parametrize(
    ("environment", "sent"),
    [
        ({}, None),
        ({"MEDSSL_PACS_TOKEN": "abc"}, "Bearer abc"),
        ({"MEDSSL_PACS_USER": "me", "MEDSSL_PACS_PASSWORD": "pw"}, "Basic " + base64.b64encode(b"me:pw").decode()),
    ],
)
def test_credentials_come_from_the_environment(web, monkeypatch, environment, sent):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    DicomWeb(web.url, timeout=5).check()
    assert web.headers[0].get("Authorization") == sent


def test_credentials_come_from_netrc_and_a_token_stands_before_it(web, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password pw\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    DicomWeb(web.url, timeout=5).check()
    monkeypatch.setenv("MEDSSL_PACS_TOKEN", "abc")
    DicomWeb(web.url, timeout=5).check()
    assert [headers["Authorization"] for headers in web.headers] == [
        "Basic " + base64.b64encode(b"me:pw").decode(),
        "Bearer abc",
    ]


def test_half_of_the_credentials_are_refused(quiet, monkeypatch):
    monkeypatch.setenv("MEDSSL_PACS_USER", "me")
    with pytest.raises(SettingsError, match="Only one of MEDSSL_PACS_USER and MEDSSL_PACS_PASSWORD"):
        session()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://me:pw@pacs.hospital/dicom-web", "holds a user or password"),
        ("http://pacs.hospital/dicom-web", "unencrypted"),
        ("https:///dicom-web", "Expected an address"),
        ("https://pacs.hospital/dicom-web?token=abc", r"has no \? or #"),
    ],
)
def test_addresses_that_give_something_away_are_refused(url, said):
    with pytest.raises(SettingsError, match=said) as told:
        check_url(url, plain=False)
    assert "pw" not in str(told.value).replace("MEDSSL_PACS_PASSWORD", "")


def test_addresses():
    assert check_url("https://pacs.hospital/dicom-web/", plain=False) == "https://pacs.hospital/dicom-web"
    assert check_url("http://pacs.hospital/x", plain=True) == "http://pacs.hospital/x"
    assert check_url("http://127.0.0.1:8042/dicom-web", plain=False).startswith("http://127")
    assert check_url("http://[::1]:8042/dicom-web", plain=False)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "said"),
    [
        (401, {}, DataError, "answered 401.*Set MEDSSL_PACS_TOKEN"),
        (404, {}, DataError, "answered 404.*root of the DICOMweb service"),
        (302, {"Location": "http://elsewhere/"}, DataError, "another address"),
        (503, {"Retry-After": "9"}, PassingError, "answered 503"),
        (500, {}, PassingError, "answered 500"),
    ],
)
def test_refusals(web, status, headers, kind, said):
    web.statuses = [(status, headers)] * 2
    source = DicomWeb(web.url, timeout=5)
    with pytest.raises(kind, match=said) as told:
        list(source.series({"PatientID": PATIENT}))
    assert PATIENT not in str(told.value)
    assert getattr(told.value, "after", None) == (9.0 if headers.get("Retry-After") else None)
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "no DICOM JSON"),
        (b'"text"', "no list"),
        (b'{"a": 1}', None),
        (b'[1, "x", null]', None),
        (b'[{"0020000D": {"Value": ["../x"]}}]', None),
    ],
)
def test_answers_that_are_no_results(web, body, said):
    web.body = body
    source = DicomWeb(web.url, timeout=5)
    if said is None:
        assert list(source.series({})) == []
    else:
        with pytest.raises(DataError, match=said):
            list(source.series({}))


def test_a_silent_service_is_left_after_the_time_out(web):
    web.hang = 3
    began = time.monotonic()
    with pytest.raises(PassingError, match="did not answer in time"):
        DicomWeb(web.url, timeout=0.2).check()
    assert time.monotonic() - began < 2


def test_nothing_listens(quiet):
    with pytest.raises(PassingError, match="no connection"):
        DicomWeb("http://127.0.0.1:9/dicom-web", timeout=1).check()


def test_a_certificate_of_nobody_is_refused(quiet, tmp_path):
    import http.server
    import ssl
    import subprocess
    import threading

    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]  # fmt: skip
    try:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    except OSError:
        pytest.skip("there is no openssl here")

    class Empty(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            self.send_response(204)
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", 0), Empty)
    server.handle_error = lambda *arguments: None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"https://localhost:{server.server_port}/dicom-web"
    try:
        with pytest.raises(DataError, match=r"certificate of the service cannot be trusted.*--ca"):
            DicomWeb(url, timeout=5).check()
        DicomWeb(url, timeout=5, ca=tmp_path / "cert").check()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    with pytest.raises(SettingsError, match="no certificates here"):
        session(tmp_path / "absent")


def test_when_to_come_back():
    assert retry_after(None) is None
    assert retry_after("12") == 12
    assert retry_after("soon") is None
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after(formatdate(time.time() - 30, usegmt=True)) == 0


def test_nothing_reaches_the_screen(web, capfd):
    web.statuses = [(503, {"Warning": f'299 - "{CANARY}"'})]
    source = DicomWeb(web.url, timeout=5)
    with pytest.raises(PassingError):
        list(source.series({"PatientID": PATIENT}))
    shown = "".join(capfd.readouterr())
    assert CANARY not in shown
    assert PATIENT not in shown
