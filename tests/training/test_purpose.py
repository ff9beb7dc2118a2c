import pytest

from medssl.api import pretrain
from medssl.errors import SettingsError
from medssl.settings import merged
from medssl.training.purpose import PURPOSES, method_for


@pytest.mark.parametrize(
    ("purpose", "method", "word"), [("classification", "simclr", "contrast"), ("segmentation", "mae", "reconstruction")]
)
def test_a_purpose_chooses_the_method_and_says_why(purpose, method, word):
    for backbone in (None, "vit_small"):
        choice = method_for(purpose, backbone)
        assert choice.value == method
        assert word in choice.source
        assert "arXiv 2412.17041" in choice.source


def test_what_cannot_be_chosen_is_said(monkeypatch):
    with pytest.raises(SettingsError, match=r"Unknown purpose 'segment'.*Did you mean 'segmentation'"):
        method_for("segment")
    with pytest.raises(SettingsError, match=r"Unknown backbone 'vit_smal'.*vit_small"):
        method_for("classification", "vit_smal")
    monkeypatch.setitem(PURPOSES, "segmentation", (("mae",), "why"))
    with pytest.raises(SettingsError, match=r"'resnet18' can be trained by none .* segmentation: mae.*--method"):
        method_for("segmentation", "resnet18")


def test_a_run_is_made_for_a_purpose_keeps_the_reason_and_goes_on(manifest, small, tmp_path):
    settings = merged(small, {"train": {"epochs": 1}})
    run = pretrain("oct", data=manifest, purpose="segmentation", settings=settings, out=tmp_path / "run")
    assert run.settings["method"] == "mae"
    assert "for segmentation" in (run.folder / "choices.json").read_text()
    pretrain("oct", data=manifest, purpose="segmentation", settings=settings, out=tmp_path / "run", resume=True)
    with pytest.raises(SettingsError, match="has the method 'mae', and 'classification' would choose 'simclr'"):
        pretrain("oct", data=manifest, purpose="classification", settings=settings, out=tmp_path / "run", resume=True)
    with pytest.raises(SettingsError, match="method 'mae' is set, and a purpose"):
        pretrain("oct", "mae", data=manifest, purpose="segmentation", settings=small, out=tmp_path / "other")
