"""`medssl list`: everything that is discovered is listed with a line of help and what it works with."""

import json

import pytest
from typer.testing import CliRunner

from medssl import backbones, catalogue, discovery, methods, stages
from medssl.cli.main import build
from medssl.data import cards

NAMES = {
    "methods": methods.names,
    "backbones": lambda: list(backbones.names()),
    "modalities": lambda: discovery.names("modalities"),
    "pipelines": stages.names,
    "datasets": cards.names,
}


def run(*arguments):
    return CliRunner().invoke(build(), ["list", *arguments])


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_all_of_a_kind_are_listed_with_a_line_of_help(kind):
    done = run(kind)
    assert done.exit_code == 0, done.output
    heads = [line for line in done.output.splitlines() if not line.startswith(" ")]
    assert [line.partition(":")[0] for line in heads] == NAMES[kind]()
    assert all(len(line.partition(": ")[2]) > 10 for line in heads)
    told = json.loads(run(kind, "--json").stdout)
    assert [entry["name"] for entry in told] == NAMES[kind]()
    assert [entry["help"] for entry in told] == [line.partition(": ")[2] for line in heads]


def test_what_works_with_what_is_what_methods_say_of_backbones():
    of_method = {entry.name: entry.facts["backbones"] for entry in catalogue.listed("methods")}
    of_backbone = {entry.facts["family"]: entry.facts["methods"] for entry in catalogue.listed("backbones")}
    assert "resnet" not in of_method["mae"]
    assert "vit" in of_method["mae"]
    for name, families in of_method.items():
        for family, able in of_backbone.items():
            assert (family in families) == (name in able) == methods.supports(name, family)


def test_a_backbone_tells_its_dimensions_and_its_weights():
    entries = {entry.name: entry for entry in catalogue.listed("backbones")}
    assert entries["resnet18"].facts["weights"] == "11.2 million in 2D, 33.2 million in 3D"
    assert all(entry.facts["weights"] and entry.facts["images"] == "2D and 3D" for entry in entries.values())
    facts = [line for line in run("backbones").output.splitlines() if line.startswith("  ")]
    assert "  weights      11.2 million in 2D, 33.2 million in 3D" in facts
    assert max(map(len, facts)) <= 100


def test_a_modality_names_its_data_and_a_recipe_its_methods():
    modalities = {entry.name: entry.facts for entry in catalogue.listed("modalities")}
    assert "oct-kermany" in modalities["oct"]["datasets"]
    assert modalities["ct"]["images"].startswith("3D, 1 channel, ")
    recipes = {entry.name: entry.facts for entry in catalogue.listed("pipelines")}
    assert recipes["cxr-mae"] == {"modalities": ["cxr"], "methods": ["mae"], "backbones": ["vit_nano"]}
    sets = {entry.name: entry.facts for entry in catalogue.listed("datasets")}
    assert sets["chexpert"]["access"] == "registration"
    assert sets["camelyon17"]["can"] == []
    assert "no modality of its own: give --modality a YAML file" in sets["bloodmnist"]["note"]
    assert (sets["isic-2020"]["modality"], sets["isic-2020"]["note"]) == ("dermatology", "")


def test_without_a_kind_the_kinds_are_counted():
    done = run()
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.output.splitlines()] == list(catalogue.KINDS)
    assert f"{len(cards.names())}: medssl list datasets" in done.output
    assert json.loads(run("--json").stdout)["methods"] == methods.names()


def test_an_unknown_kind_is_one_sentence():
    done = run("backbone")
    assert done.exit_code == 2
    assert "Unknown kind 'backbone'. Did you mean 'backbones'?" in done.stderr
    assert "Traceback" not in done.output
