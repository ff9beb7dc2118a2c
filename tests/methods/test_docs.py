"""The pages on methods say what is there."""

import re
from pathlib import Path

import pytest
import torch

from medssl import backbones, discovery, methods
from medssl.methods.parts.amount import Amount
from medssl.settings import parse_yaml
from medssl.training.settings import DataSettings, TrainSettings

DOCS = Path(__file__).parents[2] / "docs"
INDEX = (DOCS / "methods.md").read_text()
ROWS = {
    row[0]: row[1:]
    for row in re.findall(r"^\| \[`(\w+)`\]\(methods/\1\.md\) " + r"\| (.*?) " * 7 + r"\|$", INDEX, re.M)
}
PAGES = {path.stem: path.read_text() for path in (DOCS / "methods").glob("*.md")}
ALL = {"methods.md": INDEX, **{f"methods/{name}.md": page for name, page in PAGES.items()}}
BACKBONES = {"every": {"features"}, "with tokens": {"tokens"}, "with stages": {"stages"}}


def told(name):
    """Return the settings in the table of a page with their defaults, as a run's settings file has them."""
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| ", PAGES[name], re.MULTILINE)
    return {setting: None if value == "none" else parse_yaml(value) for setting, value in rows}


def as_listed(value):
    return list(value) if isinstance(value, tuple) else value


def test_every_method_has_a_row_and_a_page():
    assert set(ROWS) == set(PAGES) == set(methods.names())


@pytest.mark.parametrize("name", methods.names())
def test_its_page_has_every_setting_with_its_default_and_what_it_recommends(name):
    module = discovery.load("methods", name)
    own = {f"{name}.{key}": as_listed(field.default) for key, field in module.Settings.model_fields.items()}
    recommended = {key: as_listed(choice.value) for key, choice in module.RECOMMENDS.items() if "." in key}
    assert told(name) == {**own, **recommended}


@pytest.mark.parametrize("name", methods.names())
def test_its_page_names_the_files_of_its_tests(name):
    files = re.findall(r"`(?:tests/(?:\w+/)+)?(test_\w+\.py)`", PAGES[name].partition("## Tested against")[2])
    assert files
    assert all(list(DOCS.parent.glob(f"tests/**/{file}")) for file in files)


@pytest.mark.parametrize("name", methods.names())
def test_its_row_says_what_it_takes(name):
    module = discovery.load("methods", name)
    _, takes, teacher, passes, _, positives, _ = ROWS[name]
    fields = module.Settings.model_fields
    assert BACKBONES[takes] == module.NEEDS
    assert (teacher == "yes") == ("momentum" in fields) == ("of the teacher" in passes)
    assert (positives == "yes") == ("positives" in fields)
    with torch.device("meta"):
        backbone = backbones.build("resnet18" if takes == "with stages" else "vit_nano", in_channels=1, image_size=64)
        wish = methods.build(name, backbone).wish
    counts = [int(number) for number in re.findall(r"\d+", passes.partition(", and")[0])]
    assert counts == [group.count for group in wish]


@pytest.mark.parametrize("page", ALL)
def test_settings_that_are_named_exist(page):
    groups = {name: discovery.load("methods", name).Settings for name in methods.names()}
    groups |= {"vit": discovery.load("backbones", "vit").Settings, "data": DataSettings, "train": TrainSettings}
    named = re.findall(rf"\b({'|'.join(groups)})\.(?!md\b|py\b)(\w+)", ALL[page])
    assert page == "methods.md" or named
    assert not [f"{group}.{key}" for group, key in named if key not in groups[group].model_fields]


@pytest.mark.parametrize("page", ALL)
def test_files_and_places_that_are_named_exist(page):
    here = (DOCS / page).parent
    for target, _, place in re.findall(r"\]\((?!http)([^)#]*)(#([^)]*))?\)", ALL[page]):
        text = (here / target).read_text() if target else ALL[page]
        headings = [re.sub(r"[^\w -]", "", line).strip().lower() for line in re.findall(r"^#+ (.*)$", text, re.M)]
        assert not place or place in [heading.replace(" ", "-") for heading in headings], place
    tests = re.findall(r"`([\w/]*test_\w+\.py)`", ALL[page])
    known = [path.as_posix() for path in (DOCS.parent / "tests").rglob("test_*.py")]
    assert not [test for test in tests if not any(path.endswith(f"/{test}") for path in known)]


@pytest.mark.parametrize(
    ("name", "paper", "batch"), [("byol", 0.996, 4096), ("dino", 0.996, 1024), ("ijepa", 0.996, 2048)]
)
def test_the_momentum_of_the_preset_is_that_of_the_page(name, paper, batch):
    chosen = discovery.load("methods", name).fitted(Amount(10**6, batch, 100, 10**6))[f"{name}.momentum"]
    assert chosen.value == paper
    assert f"{paper} at a batch of {batch:,}" in PAGES[name] or f"scales {paper} at {batch:,} images" in PAGES[name]


@pytest.mark.parametrize(
    "name", [name for name in methods.names() if hasattr(discovery.load("methods", name), "RECOMMENDS_WITH")]
)
def test_what_it_takes_with_lars_stands_there(name):
    with_lars = discovery.load("methods", name).RECOMMENDS_WITH["lars"]
    rate, decay = (with_lars[f"train.{key}"].value for key in ("base_learning_rate", "weight_decay"))
    assert f"with `train.optimizer=lars` the paper's {rate:g} " in PAGES[name]
    assert f"with LARS {decay:g}".replace("e-0", "e-") in PAGES[name]
