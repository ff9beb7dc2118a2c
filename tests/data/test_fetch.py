"""Fetching by a card: the files that need no login, archives unpacked, and one sentence for every other set."""

import hashlib
import io
import zipfile

import pytest

from medssl.data import cards
from medssl.data.cards import Card, Download
from medssl.data.fetch import fetch
from medssl.errors import DataError, SettingsError, StorageError


@pytest.fixture
def archive() -> bytes:
    with io.BytesIO() as handle:
        with zipfile.ZipFile(handle, "w") as opened:
            opened.writestr("images/a.png", b"picture")
        return handle.getvalue()


@pytest.fixture
def card(site, monkeypatch, archive):
    """A card of two files on this machine, the second of which is optional."""
    site.body = archive
    md5 = hashlib.md5(archive).hexdigest()
    known = cards.load("octmnist")
    entries = {"set.zip": Download(url=site.url, md5=md5), "large.npz": Download(url=site.url, md5=md5, optional=True)}
    made = Card(**{**known.model_dump(), "files": entries})
    monkeypatch.setattr(cards, "load", lambda name: made)
    return made


def test_an_archive_is_fetched_and_unpacked_once(card, site, tmp_path):
    for _ in range(2):
        assert fetch("any", tmp_path / "out") == [tmp_path / "out" / "set"]
    assert (tmp_path / "out" / "set" / "images" / "a.png").read_bytes() == b"picture"
    assert len(site.asked) == 1


def test_an_optional_file_is_fetched_by_name(card, tmp_path):
    assert fetch("any", tmp_path / "out", only="large.npz") == [tmp_path / "out" / "large.npz"]
    with pytest.raises(SettingsError, match=r"Unknown file of 'any' 'larg\.npz'\. Did you mean 'large\.npz'"):
        fetch("any", tmp_path / "out", only="larg.npz")


def test_an_interrupted_fetch_goes_on_and_a_failed_one_leaves_no_folder(card, site, archive, tmp_path):
    site.status = 404
    with pytest.raises(DataError, match="404"):
        fetch("any", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    site.status, site.cut = 200, 10
    with pytest.raises(StorageError, match="Repeat the command to go on"):
        fetch("any", tmp_path / "out")
    site.cut = None
    fetch("any", tmp_path / "out")
    assert site.asked == [None, None, "bytes=10-"]


def test_an_archive_that_leads_out_is_kept_and_not_unpacked(card, site, tmp_path, monkeypatch):
    with io.BytesIO() as handle:
        with zipfile.ZipFile(handle, "w") as opened:
            opened.writestr("../evil", b"1")
        site.body = handle.getvalue()
    entry = Download(url=site.url, md5=hashlib.md5(site.body).hexdigest())
    made = card.model_copy(update={"files": {"set.zip": entry}})
    monkeypatch.setattr(cards, "load", lambda name: made)
    with pytest.raises(DataError, match="leads out of the folder"):
        fetch("any", tmp_path / "out")
    assert not (tmp_path / "out" / "set").exists()
    assert not (tmp_path / "out" / "evil").exists()
    assert not (tmp_path / "evil").exists()


def test_a_folder_of_something_else_is_left_alone(card, site, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(StorageError, match="holds something else"):
        fetch("any", tmp_path)
    assert site.asked == []


@pytest.mark.parametrize("name", [name for name in cards.names() if not cards.load(name).files])
def test_a_set_without_an_address_says_where_and_how(name, tmp_path):
    card = cards.load(name)
    with pytest.raises(DataError, match="cannot be fetched") as caught:
        fetch(name, tmp_path / "out")
    assert card.homepage in str(caught.value)
    assert not (tmp_path / "out").exists()
