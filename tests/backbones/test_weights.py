import argparse
import json
import os
import re
from functools import partial

import pytest
import safetensors.torch
import torch

from medssl import backbones, files
from medssl.backbones.weights import export, load_backbone, load_file, match
from medssl.errors import DataError, SettingsError, StorageError

SMALL = {"width": 32, "depth": 2, "heads": 2, "patch_size": 8}


def vit(**overrides):
    return backbones.build("vit_nano", in_channels=1, image_size=32, overrides=SMALL | overrides)


def resnet():
    return backbones.build(
        "resnet18", in_channels=1, image_size=32, overrides={"stem_width": 4, "layers": (1, 1, 1, 1)}
    )


def wrapped(state, prefix="", nest=None):
    state = {prefix + name: value.clone() for name, value in state.items()}
    return state if nest is None else {nest: state, "epoch": 7}


WRAPPINGS = [("", None), ("module.", None), ("backbone.", None), ("module.backbone.", None), ("encoder.", None)]
WRAPPINGS += [(prefix, nest) for nest in ("model", "state_dict", "teacher") for prefix in ("", "module.backbone.")]


@pytest.mark.parametrize("make", [vit, resnet])
@pytest.mark.parametrize(("prefix", "nest"), WRAPPINGS)
def test_weights_are_found_under_any_usual_name(make, prefix, nest):
    torch.manual_seed(0)
    original, fresh = make().eval(), make().eval()
    x = torch.randn(2, 1, 32, 32)
    assert not torch.equal(original(x).grid, fresh(x).grid)
    report = match(wrapped(original.state_dict(), prefix, nest), fresh)
    assert torch.equal(original(x).pooled, fresh(x).pooled)
    assert torch.equal(original(x).grid, fresh(x).grid)
    assert report["matched"] == report["of"]
    assert (report["prefix"], report["place"]) == (prefix, nest or "")
    assert report["missing"] == report["unused"] == []


def test_nothing_matching_is_an_error_with_names_from_both_sides():
    model = vit()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(DataError, match=rf"0 of {len(before)} .*stem\.conv.*blocks\.0\.attn"):
        match({"stem.conv": torch.zeros(3)}, model)
    with pytest.raises(DataError, match="no named tensors"):
        match({"epoch": 3}, model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_half_of_the_weights_are_an_error_unless_asked_for():
    original, model = vit(), vit()
    state = original.state_dict()
    half = dict(list(state.items())[: len(state) // 2])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(DataError, match=rf"Only {len(half)} of {len(state)} tensors.*lacks 'blocks"):
        match(half, model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    report = match(half, model, partial=True)
    assert report["matched"] == len(half)
    assert set(report["missing"]) == set(state) - set(half)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in half.items())


@pytest.mark.parametrize("make", [vit, partial(vit, positions="learned"), resnet], ids=["vit", "learned", "resnet"])
def test_one_missing_tensor_is_an_error_that_names_it(make):
    model = make()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for name in (one for one in state if not one.endswith("num_batches_tracked")):
        lacking = {other: value for other, value in state.items() if other != name}
        with pytest.raises(DataError, match=rf"Only (\d+) of .*it lacks '{re.escape(name)}'"):
            match(lacking, model)
        assert match(lacking, model, partial=True)["missing"] == [name]


def test_what_a_backbone_computes_may_be_missing():
    state = {name: v for name, v in resnet().state_dict().items() if not name.endswith("num_batches_tracked")}
    assert match(state, resnet())["missing"] == []
    model = backbones.build("swin_unetr_nano", in_channels=1, image_size=32)
    indices = [name for name, value in model.state_dict().items() if not value.is_floating_point()]
    state = {name: value for name, value in model.state_dict().items() if name not in indices}
    assert indices
    assert match(state, model)["missing"] == sorted(indices)


def test_another_architecture_is_one_clear_sentence():
    with pytest.raises(DataError, match=r"another architecture: .* is \(.*\), not \("):
        match(vit(width=64).state_dict(), vit())
    with pytest.raises(DataError, match=r"another architecture: it also has 'blocks\.2"):
        match(vit(depth=3).state_dict(), vit())
    with pytest.raises(DataError, match="Only"):
        match(vit(depth=1).state_dict(), vit())
    with pytest.raises(DataError, match="0 of"):
        match(resnet().state_dict(), vit())


def test_heads_and_decoders_are_left_out_and_listed():
    original, model = vit(), vit()
    extra = {"head.weight": torch.zeros(2), "decoder.blocks.0.norm1.weight": torch.zeros(3)}
    assert match(original.state_dict() | extra, model)["unused"] == sorted(extra)


def test_the_teacher_is_preferred_and_a_doubt_is_an_error():
    teacher, student, model = vit(), vit(), vit()
    match({"student": student.state_dict(), "teacher": teacher.state_dict()}, model)
    assert torch.equal(model.norm.weight, teacher.norm.weight)
    assert torch.equal(model.blocks[0].attn.qkv.weight, teacher.blocks[0].attn.qkv.weight)
    both = wrapped(teacher.state_dict(), "backbone.") | wrapped(student.state_dict(), "encoder.")
    with pytest.raises(DataError, match=r"several sets.*backbone.*encoder"):
        match(both, model)


def test_fixed_positions_of_any_square_grid_are_recognised_and_learned_ones_refused():
    model = vit()
    for side in (4, 7):
        positions = torch.cat([torch.zeros(1, 1, 32), model.positions((side, side))], dim=1)
        assert match(model.state_dict() | {"pos_embed": positions}, vit())["missing"] == []
    with pytest.raises(DataError, match="learned positions"):
        match(model.state_dict() | {"pos_embed": torch.randn(1, 17, 32)}, vit())
    assert match(vit(positions="learned").state_dict(), vit(positions="learned"))["missing"] == []


def test_tokens_that_the_backbone_lacks_are_an_error():
    with pytest.raises(DataError, match="cls_token"):
        match(vit().state_dict(), vit(class_token=False))
    with pytest.raises(DataError, match="reg_token"):
        match(vit().state_dict() | {"reg_token": torch.zeros(1, 4, 32)}, vit())


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.pth"])
def test_checkpoints_are_read_back(tmp_path, name):
    state = vit().state_dict()
    write = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    write(state, tmp_path / name)
    read = load_file(tmp_path / name)
    assert set(read) == set(state)
    assert all(torch.equal(read[key], value) for key, value in state.items())


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_pickles_that_need_more_are_refused_and_never_run(tmp_path):
    torch.save({"model": vit().state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"argparse\.Namespace.*a\.pth.*save_file"):
        load_file(tmp_path / "a.pth")
    torch.save({"model": Trap(tmp_path / "marker")}, tmp_path / "b.pth")
    with pytest.raises(DataError, match="mkdir"):
        load_file(tmp_path / "b.pth")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_damaged_and_absent_files_are_data_errors(tmp_path, name):
    with pytest.raises(DataError, match="no such file"):
        load_file(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=name):
        load_file(tmp_path / name)
    (tmp_path / name).write_bytes(bytes(range(256)) * 4)
    with pytest.raises(DataError, match=name):
        load_file(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DataError, match="list"):
        load_file(tmp_path / "list.pt")


@pytest.mark.parametrize("make", [vit, resnet])
def test_what_is_exported_loads_as_it_was(tmp_path, make):
    model = make()
    x = torch.randn(4, 1, 32, 32)
    model(x)  # moves running statistics
    card = {"title": "A title", "data": {"images": 3, "site": None}, "limits": ["one device"]}
    export(model, tmp_path / "run" / "backbone", card)
    for place in (tmp_path / "run", tmp_path / "run" / "backbone"):
        loaded = load_backbone(place)
        assert not loaded.training
        assert torch.equal(loaded(x).pooled, model.eval()(x).pooled)
        assert loaded.card == card
        assert (loaded.name, loaded.settings, loaded.image_size) == (model.name, model.settings, model.image_size)
    readme = (tmp_path / "run" / "backbone" / "README.md").read_text()
    assert readme.startswith("---\nlibrary_name: medssl\n")
    for text in ("# A title", "- site: unknown", "- one device", "load_backbone"):
        assert text in readme
    names = {p.name for p in (tmp_path / "run" / "backbone").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "MANIFEST.json"}


def test_a_folder_without_a_backbone_and_a_damaged_one_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="no backbone here"):
        load_backbone(tmp_path)
    with pytest.raises(DataError, match="no backbone here"):
        load_backbone(tmp_path / "absent")
    export(vit(), tmp_path / "backbone", {})
    weights = tmp_path / "backbone" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged.*model\.safetensors"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("change", [{"image_size": 3}, {"settings": []}, {"card": None}, {"family": 7}])
def test_a_damaged_configuration_is_one_sentence(tmp_path, monkeypatch, change):
    export(vit(), tmp_path / "backbone", {})
    config = tmp_path / "backbone" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    monkeypatch.setattr(files, "verify_folder", lambda folder: None)
    with pytest.raises(DataError, match=rf"Damaged: Setting '{next(iter(change))}.*config\.json"):
        load_backbone(tmp_path)


def test_weights_that_do_not_fit_the_configuration_are_one_sentence(tmp_path, monkeypatch):
    export(vit(), tmp_path / "backbone", {})
    config = tmp_path / "backbone" / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 1', '"in_channels": 3'))
    monkeypatch.setattr(files, "verify_folder", lambda folder: None)
    with pytest.raises(DataError, match=r"weights do not fit config\.json"):
        load_backbone(tmp_path)


def test_a_backbone_of_an_unknown_family_names_those_that_exist(tmp_path):
    model = vit()
    model.family = "vjt"
    export(model, tmp_path, {})
    assert json.loads((tmp_path / "config.json").read_text())["family"] == "vjt"
    with pytest.raises(SettingsError, match=r"vjt.*Did you mean 'vit'"):
        load_backbone(tmp_path)


def test_a_failed_export_leaves_the_earlier_one(tmp_path, monkeypatch):
    model = vit()
    export(model, tmp_path / "backbone", {"n": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medssl.files._disk.write", full)
    with pytest.raises(StorageError, match="disk is full"):
        export(vit(), tmp_path / "backbone", {"n": 2})
    assert load_backbone(tmp_path).card == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["backbone"]
