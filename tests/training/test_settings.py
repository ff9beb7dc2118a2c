import pytest

from medssl.errors import DataError, SettingsError
from medssl.settings import parse_yaml
from medssl.training import settings

VALID = {"modality": "oct", "method": "mae", "backbone": "vit_nano"}


def test_defaults_are_complete_and_survive_yaml():
    checked = settings.check({**VALID, "mae": {"mask_ratio": 0.8}})
    assert settings.check(parse_yaml(settings.to_text(checked))) == checked
    assert checked.group("mae") == {"mask_ratio": 0.8}
    assert checked.group("vit") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "oc"}, r"Unknown modality 'oc'.*Did you mean 'oct'.*cxr"),
        ({"method": "mea"}, r"Unknown method 'mea'.*Did you mean 'mae'.*simclr"),
        ({"backbone": "vit_smal"}, r"Unknown backbone 'vit_smal'.*Did you mean 'vit_small'.*resnet18"),
        ({"mea": {}}, r"Unknown group of settings 'mea'.*Did you mean 'mae'"),
        ({"simclr": {}}, r"Unknown group of settings 'simclr'"),
        ({"train": {"epoch": 3}}, r"Unknown setting 'train\.epoch'.*Did you mean 'epochs'"),
        ({"train": {"epochs": 0}}, r"'train\.epochs'.*greater than or equal to 1.*got 0"),
        ({"train": {"seed": "x"}}, r"'train\.seed'.*'x'"),
        ({"train": {"betas": [2, 3]}}, r"'train\.betas\.0'.*less than 1"),
        *(
            ({"train": {name: float("inf")}}, rf"'train\.{name}'.*finite")
            for name in ("learning_rate", "weight_decay", "clip_norm", "warmup_epochs", "checkpoint_minutes")
        ),
        ({"train": {"epochs": 10**20}}, r"'train\.epochs'"),
        ({"data": {"holdout": 1}}, r"'data\.holdout'.*less than 1"),
        ({"mae": {"mask_ratio": 1.5}}, r"'mae\.mask_ratio'.*less than 1.*1\.5"),
        ({"mae": {"mask": 0.5}}, r"Unknown setting 'mae\.mask'.*Did you mean 'mask_ratio'"),
        ({"vit": {"patchsize": 8}}, r"Unknown setting 'vit\.patchsize'.*Did you mean 'patch_size'"),
        ({"train": 5}, r"'train' is a group.*train\.NAME"),
        ({"mae": 0.5}, r"'mae' is a group"),
        ({"modality": None}, r"'modality' is missing.*--modality"),
    ],
)
def test_a_wrong_name_or_value_is_one_sentence(change, message):
    with pytest.raises(SettingsError, match=message):
        settings.check({**VALID, **change})


def test_a_file_must_hold_settings(tmp_path):
    (tmp_path / "settings.yaml").write_text("- 1\n")
    with pytest.raises(DataError, match="NAME: VALUE"):
        settings.read(tmp_path / "settings.yaml")
