"""Downloads from a server on this machine: resumed, refused, cut short, lied about; nothing half under its name."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from medssl.data import download as downloading
from medssl.data.download import download
from medssl.errors import DataError, StorageError

BODY = bytes(range(256)) * 9000  # 2.3 MB, more than two chunks
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture(autouse=True)
def body(site):
    site.body = BODY


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_with_progress_and_is_not_fetched_twice(site, tmp_path):
    seen = []
    for _ in range(2):
        download(
            site.url, tmp_path / "new" / "a.npz", md5=MD5, progress=lambda kind, values: seen.append((kind, values))
        )
    assert (tmp_path / "new" / "a.npz").read_bytes() == BODY
    assert names(tmp_path / "new") == ["a.npz"]
    assert seen[-1] == ("download", {"done": 3, "total": 3})
    assert site.asked == [None]


def test_a_truncated_answer_is_kept_and_gone_on_with(site, tmp_path):
    site.cut = 1_500_000
    with pytest.raises(StorageError, match=r"ended after 1500000 of 2304000 bytes .*kept in a\.npz\.part"):
        download(site.url, tmp_path / "a.npz", md5=MD5)
    assert names(tmp_path) == ["a.npz.part"]
    site.cut = None
    download(site.url, tmp_path / "a.npz", md5=MD5)
    assert (tmp_path / "a.npz").read_bytes() == BODY
    assert names(tmp_path) == ["a.npz"]
    assert site.asked == [None, "bytes=1500000-"]


def test_ctrl_c_leaves_what_came_and_the_next_try_goes_on(site, tmp_path):
    def stop(kind, values):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(site.url, tmp_path / "a.npz", md5=MD5, progress=stop)
    have = (tmp_path / "a.npz.part").stat().st_size
    assert 0 < have < len(BODY)
    download(site.url, tmp_path / "a.npz", md5=MD5)
    assert (tmp_path / "a.npz").read_bytes() == BODY
    assert site.asked[1] == f"bytes={have}-"


def test_a_server_that_ignores_ranges_begins_anew(site, tmp_path):
    (tmp_path / "a.npz.part").write_bytes(b"x" * 1000)
    site.ranges = False
    download(site.url, tmp_path / "a.npz", md5=MD5)
    assert (tmp_path / "a.npz").read_bytes() == BODY


@pytest.mark.parametrize("have", [BODY, BODY + b"too long"])
def test_a_part_that_has_it_all_is_used_and_one_that_has_more_begins_anew(site, tmp_path, have):
    (tmp_path / "a.npz.part").write_bytes(have)
    download(site.url, tmp_path / "a.npz", md5=MD5)
    assert (tmp_path / "a.npz").read_bytes() == BODY
    assert names(tmp_path) == ["a.npz"]


def test_another_part_than_asked_for_is_refused(site, tmp_path):
    (tmp_path / "a.npz.part").write_bytes(BODY[:1000])
    site.shift = 5
    with pytest.raises(StorageError, match="another part than was asked for"):
        download(site.url, tmp_path / "a.npz", md5=MD5)
    assert (tmp_path / "a.npz.part").read_bytes() == BODY[:1000]


def test_without_a_checksum_halves_are_not_joined(site, tmp_path):
    (tmp_path / "a.npz.part").write_bytes(b"x" * 1000)
    download(site.url, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == BODY
    assert site.asked == [None]


def test_a_wrong_checksum_is_said_kept_under_another_name_and_begun_anew(site, tmp_path):
    site.body = b"y" + BODY[1:]
    with pytest.raises(DataError, match=rf"its MD5 is \w{{32}}, not {MD5}; it is kept as a\.npz\.wrong"):
        download(site.url, tmp_path / "a.npz", md5=MD5)
    assert names(tmp_path) == ["a.npz.wrong"]
    site.body = BODY
    download(site.url, tmp_path / "a.npz", md5=MD5)
    assert names(tmp_path) == ["a.npz", "a.npz.wrong"]
    assert site.asked == [None, None]


def test_a_file_of_the_name_that_is_another_is_left_alone(site, tmp_path):
    (tmp_path / "a.npz").write_text("mine")
    with pytest.raises(DataError, match="Move it away first"):
        download(site.url, tmp_path / "a.npz", md5=MD5)
    assert (tmp_path / "a.npz").read_text() == "mine"


@pytest.mark.parametrize(("status", "kind"), [(404, DataError), (403, DataError), (503, StorageError)])
def test_what_a_server_refuses_is_one_sentence(site, tmp_path, status, kind):
    site.status = status
    with pytest.raises(kind, match=f"answered {status}"):
        download(site.url, tmp_path / "a.npz", md5=MD5)
    assert names(tmp_path) == []


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_only_https_is_asked_and_no_redirect_leads_elsewhere(site, tmp_path, location, monkeypatch):
    site.location = location
    with pytest.raises(DataError, match=r"Only http and https addresses|not allowed"):
        download(site.url, tmp_path / "a.npz", md5=MD5)
    monkeypatch.undo()
    for url in (site.url, location):
        with pytest.raises(DataError, match="Only https addresses"):
            download(url, tmp_path / "a.npz", md5=MD5)
    assert len(site.asked) == 1
    assert names(tmp_path) == []


def test_no_network_is_one_sentence(site, tmp_path, monkeypatch):
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with pytest.raises(StorageError, match=r"The download stopped: .*Check the connection"):
        download("http://127.0.0.1:9/set.npz", tmp_path / "a.npz", md5=MD5)
    assert names(tmp_path) == []


def test_a_server_that_falls_silent_is_not_waited_for(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "_TIMEOUT", 0.05)
    gate = threading.Event()
    write = http.server.BaseHTTPRequestHandler.end_headers
    monkeypatch.setattr(
        http.server.BaseHTTPRequestHandler, "end_headers", lambda self: (write(self), gate.wait(5), None)[-1]
    )
    try:
        with pytest.raises(StorageError, match="timed out"):
            download(site.url, tmp_path / "a.npz", md5=MD5)
    finally:
        gate.set()
    assert "a.npz" not in names(tmp_path)


def test_a_disk_without_room_is_said_before_anything_is_written(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "_SPARE", 10**18)
    with pytest.raises(StorageError, match="needs 2 MB"):
        download(site.url, tmp_path / "a.npz", md5=MD5)
    assert names(tmp_path) == []
