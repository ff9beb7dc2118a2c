"""The file name is the registry."""

import sys
from importlib.metadata import EntryPoint

import pytest

from medssl import discovery
from medssl.errors import SettingsError


def test_a_new_file_is_found_by_its_name(tmp_path, monkeypatch):
    import medssl.metrics

    (tmp_path / "zebra.py").write_text("TITLE = 'Zebra'")
    (tmp_path / "_private.py").write_text("")
    monkeypatch.setattr(medssl.metrics, "__path__", [*medssl.metrics.__path__, str(tmp_path)])
    assert "zebra" in discovery.names("metrics")
    assert "_private" not in discovery.names("metrics")
    assert discovery.load("metrics", "zebra").TITLE == "Zebra"
    del sys.modules["medssl.metrics.zebra"]


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match=r"Unknown method 'mea'\. Did you mean 'mae'"):
        discovery.load("methods", "mea")


def test_third_parties_add_theirs_by_entry_point(monkeypatch):
    point = EntryPoint("theirs", "json", "medssl.methods")
    monkeypatch.setattr(discovery, "entry_points", lambda group: [point] if group == "medssl.methods" else [])
    assert "theirs" in discovery.names("methods")
    import json

    assert discovery.load("methods", "theirs") is json


def test_a_third_party_cannot_take_the_place_of_ours(monkeypatch):
    point = EntryPoint("mae", "json", "medssl.methods")
    monkeypatch.setattr(discovery, "entry_points", lambda group: [point] if group == "medssl.methods" else [])
    assert discovery.load("methods", "mae").__name__ == "medssl.methods.mae"


def test_files_beside_the_members_are_left_out():
    assert "weights" not in discovery.names("backbones")
    with pytest.raises(SettingsError, match="Unknown backbone 'weights'"):
        discovery.load("backbones", "weights")
