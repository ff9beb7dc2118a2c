import hashlib
import hmac
import os
import stat
import subprocess
import sys

import pytest

from medssl.data import keys
from medssl.data.keys import AS_THEY_ARE, Key, from_file, is_lost, kept, of_this_user, once
from medssl.errors import DataError, StorageError


def test_a_pseudonym_is_a_truncated_hmac():
    key = Key(b"k" * 32)
    slow = hmac.new(b"k" * 32, b"medssl patient\x1f007", hashlib.sha256).hexdigest()[:16]
    assert key.pseudonym("patient", "007") == slow
    assert key.pseudonym("study", "007") != slow
    assert key.pseudonym("patient", "7") != slow
    assert Key(b"l" * 32).pseudonym("patient", "007") != slow
    assert AS_THEY_ARE.pseudonym("patient", "007") == "007"


def test_a_key_never_shows_its_secret():
    key = Key(b"very secret indeed, nobody knows")
    assert "secret" not in repr(key)
    assert b"very" not in key.fingerprint.encode()
    assert len(key.fingerprint) == 8
    assert is_lost(once().fingerprint)
    assert not is_lost(key.fingerprint)
    assert once().secret != once().secret


def test_a_key_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "sub" / "site.key"
    key, made = kept(path)
    assert made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().strip()) == 64
    assert kept(path) == (key, False)
    assert from_file(path) == key
    assert [file.name for file in path.parent.iterdir()] == ["site.key"]


@pytest.mark.skipif(os.name != "posix", reason="rights of a POSIX system")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    kept(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(DataError, match="chmod 600"):
        kept(tmp_path / "key")


@pytest.mark.parametrize("text", ["", "\n", "short", "x" * 31])
def test_what_is_no_secret_is_refused_and_left(tmp_path, text):
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(DataError, match="32 to"):
        kept(tmp_path / "key")
    assert (tmp_path / "key").read_text() == text


def test_a_key_that_cannot_be_read_or_written_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        from_file(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read"):
        kept(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        kept(tmp_path / "file" / "key")


def test_the_first_of_two_processes_makes_the_key(tmp_path, monkeypatch):
    path, write = tmp_path / "key", keys._write
    other = {}

    def late(place):
        other["key"] = from_file(place) if place.exists() else None
        write(place)
        other["key"] = from_file(place)
        return write(place)  # the second: it must not replace the first

    monkeypatch.setattr(keys, "_write", late)
    key, made = kept(path)
    assert not made
    assert key == other["key"]


def test_the_users_key_is_kept_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEDSSL_KEY", raising=False)
    first = of_this_user()
    assert first == of_this_user()
    assert [p.name for p in (tmp_path / "home").rglob("*.key")] == ["privacy.key"]
    monkeypatch.setenv("MEDSSL_KEY", str(tmp_path / "mine"))
    assert of_this_user() != first
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("MEDSSL_KEY", str(tmp_path / "file" / "key"))
    with pytest.raises(StorageError, match="Set MEDSSL_KEY"):
        of_this_user()


def test_another_process_gives_the_same_pseudonyms(tmp_path):
    key, _ = kept(tmp_path / "key")
    code = (
        "import pathlib, sys; from medssl.data.keys import from_file; "
        "sys.stdout.write(from_file(pathlib.Path(sys.argv[1])).pseudonym('patient', 'Ä7'))"
    )
    said = subprocess.run([sys.executable, "-c", code, tmp_path / "key"], check=True, capture_output=True, text=True)
    assert said.stdout == key.pseudonym("patient", "Ä7")
