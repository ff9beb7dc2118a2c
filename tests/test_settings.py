"""Settings: strict YAML, unknown keys refused with the nearest name."""

import pytest
from pydantic import Field

from medssl.errors import DataError, SettingsError
from medssl.settings import Settings, dump_yaml, load_yaml, merged, parse_overrides, parse_yaml, united, validate


class Mae(Settings):
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    decoder_depth: int = 4


def test_unknown_setting_names_the_nearest():
    with pytest.raises(SettingsError, match=r"'mae\.mask_ration'.*Did you mean 'mask_ratio'.*decoder_depth"):
        validate(Mae, {"mask_ration": 0.8}, where="mae")


def test_value_out_of_range_names_setting_rule_and_value():
    with pytest.raises(SettingsError, match=r"'mae\.mask_ratio'.*less than 1.*1\.5"):
        validate(Mae, {"mask_ratio": 1.5}, where="mae")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5E3", 5e3),
        ("0.5", 0.5),
        (".5", 0.5),
        ("-3", -3),
        ("1.", 1.0),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("2024-01-01", "2024-01-01"),
        ("007", "007"),
        ("1:30", "1:30"),
    ],
)
def test_yaml_scalars_follow_yaml_1_2(text, value):
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: &x 1\nb: *x", "a: [", "a: !!python/object/apply:os.getcwd []"])
def test_surprising_yaml_is_refused(text):
    with pytest.raises(DataError):
        parse_yaml(text)


def test_overrides_nest():
    overrides = parse_overrides(["mae.mask_ratio=0.9", "train.epochs=5", "mae.mask_ratio=0.9"])
    assert overrides == {"mae": {"mask_ratio": 0.9}, "train": {"epochs": 5}}
    assert merged({"mae": {"mask_ratio": 0.75, "decoder_depth": 2}}, overrides)["mae"] == {
        "mask_ratio": 0.9,
        "decoder_depth": 2,
    }


@pytest.mark.parametrize("assignment", ["mask_ratio", "=3", "mae.=3", ".mae=3"])
def test_malformed_override_is_named(assignment):
    with pytest.raises(SettingsError, match="NAME=VALUE"):
        parse_overrides([assignment])


def test_an_override_that_is_not_yaml_is_a_matter_of_usage():
    with pytest.raises(SettingsError, match=r"'train\.epochs' cannot be read.*--budget"):
        parse_overrides(["train.epochs=[1"], "--budget")


def test_two_values_of_a_setting_are_refused():
    with pytest.raises(SettingsError, match=r"'a\.b' is given twice, as 1 and as 2"):
        parse_overrides(["a.b=1", "a.c=3", "a.b=2"])
    with pytest.raises(SettingsError, match="'method' is given twice, as 'mae' and as 'simclr'"):
        united({"method": "mae"}, {"method": "simclr"})
    assert united({"a.b": 1}, {"a": {"b": 1, "c": {}}}) == {"a": {"b": 1, "c": {}}}


class Union(Settings):
    size: int | tuple[int, int] = 3


def test_a_value_that_fits_none_of_several_types_is_named_as_the_user_wrote_it():
    with pytest.raises(SettingsError, match=r"Setting 'vit\.size': "):
        validate(Union, {"size": "no"}, where="vit")
    with pytest.raises(SettingsError, match=r"Setting 'vit\.size(\.1)?': "):
        validate(Union, {"size": [1, "x"]}, where="vit")


def test_override_of_a_value_as_a_group_is_refused():
    with pytest.raises(SettingsError, match="both as a value and as a group"):
        parse_overrides(["mae=3", "mae.mask_ratio=0.8"])


def test_yaml_round_trip(tmp_path):
    value = {"modality": "oct", "train": {"learning_rate": 1e-4, "seed": 0, "device": None, "word": "no"}}
    path = tmp_path / "settings.yaml"
    path.write_text(dump_yaml(value))
    assert load_yaml(path) == value


def test_unreadable_settings_are_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.yaml"):
        load_yaml(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(DataError, match=r"latin\.yaml"):
        load_yaml(tmp_path / "latin.yaml")
    (tmp_path / "huge.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(DataError, match="1000001 bytes"):
        load_yaml(tmp_path / "huge.yaml")
