"""Checkpoints in the form in which others publish them: names, positions and tokens need no guesswork."""

import pytest
import torch
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    IJepaConfig,
    IJepaModel,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)

from medssl import backbones
from medssl.backbones.weights import load_file, match
from medssl.errors import DataError

SHARED = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "num_channels": 2,
    "layer_norm_eps": 1e-6,
}
SMALL = {"width": 48, "depth": 3, "heads": 4, "patch_size": 8}


def vit(image_size=32, **overrides):
    model = backbones.build("vit_nano", in_channels=2, image_size=image_size, overrides=SMALL | overrides)
    return model.eval()


def randomised(model, std=0.2):
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=std)
    return model.eval()


def published(model, folder):
    """Return what is in the file that a model of transformers is published as."""
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@pytest.fixture
def images():
    return torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(3))


def test_vit_of_transformers(tmp_path, images):
    theirs = randomised(ViTForImageClassification(ViTConfig(**SHARED, intermediate_size=192)))
    ours = vit(positions="learned", pooling="class")
    report = match(published(theirs, tmp_path), ours)
    assert report["missing"] == report["adapted"] == []
    assert (report["prefix"], report["unused"]) == ("vit.", [])
    with torch.no_grad():
        torch.testing.assert_close(theirs.classifier(ours(images).pooled), theirs(images).logits, atol=1e-5, rtol=1e-5)


def test_dinov2_with_registers_of_transformers(tmp_path, images):
    theirs = randomised(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SHARED, num_register_tokens=3)))
    ours = vit(positions="learned", register_tokens=3, layer_scale=1e-5)
    report = match(published(theirs, tmp_path), ours)
    assert (report["missing"], report["unused"]) == ([], ["embeddings.mask_token"])
    with torch.no_grad():
        tokens, expected = ours.encode(ours.embed(images)), theirs(images).last_hidden_state
        torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours(images).pooled, expected[:, 4:].mean(dim=1), atol=1e-5, rtol=1e-5)


def test_vit_mae_of_transformers(tmp_path, images):
    theirs = ViTMAEForPreTraining(ViTMAEConfig(**SHARED, intermediate_size=192, mask_ratio=0.0))
    theirs.vit.embeddings.position_embeddings.data[:, 1:] = vit().positions((4, 4))
    randomised(theirs)
    ours = vit()
    report = match(published(theirs, tmp_path), ours)
    assert (report["matched"], report["missing"], report["prefix"]) == (report["of"], [], "vit.")
    with torch.no_grad():
        expected = theirs.vit(images, noise=torch.arange(16.0).expand(2, -1)).last_hidden_state
        torch.testing.assert_close(ours.encode(ours.embed(images)), expected, atol=1e-5, rtol=1e-5)


def test_ijepa_of_transformers(tmp_path, images):
    theirs = randomised(IJepaModel(IJepaConfig(**SHARED, intermediate_size=192)))
    ours = vit(positions="learned", class_token=False)
    assert match(published(theirs, tmp_path), ours)["missing"] == []
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        torch.testing.assert_close(ours.encode(ours.embed(images)), expected, atol=1e-5, rtol=1e-5)


def test_other_image_sizes_are_those_of_transformers(tmp_path):
    theirs = randomised(ViTForImageClassification(ViTConfig(**SHARED, intermediate_size=192)))
    ours = vit(positions="learned", pooling="class")
    match(published(theirs, tmp_path), ours)
    built_for_it = vit(image_size=(48, 24), positions="learned", pooling="class")
    report = match(published(theirs, tmp_path), built_for_it)
    assert report["adapted"] == ["pos_embed"]
    assert built_for_it.pos_embed.shape == (1, 19, 48)
    x = torch.randn(2, 2, 48, 24)
    with torch.no_grad():
        expected = theirs(x, interpolate_pos_encoding=True).logits
        for model in (ours, built_for_it):
            torch.testing.assert_close(theirs.classifier(model(x).pooled), expected, atol=1e-5, rtol=1e-5)


def test_dino_s_file_with_student_and_teacher():
    teacher, student = (randomised(vit(positions="learned"), std) for std in (0.1, 0.3))
    head = {"head.mlp.0.weight": torch.zeros(4, 48), "head.last_layer.weight_g": torch.zeros(4, 1)}
    checkpoint = {
        "student": {f"module.backbone.{n}": v for n, v in student.state_dict().items()}
        | {f"module.{n}": v for n, v in head.items()},
        "teacher": {f"backbone.{n}": v for n, v in teacher.state_dict().items()} | head,
        "epoch": 100,
        "dino_loss": {"center": torch.zeros(1, 4)},
    }
    ours = vit(positions="learned")
    report = match(checkpoint, ours)
    assert (report["place"], report["prefix"], report["missing"]) == ("teacher", "backbone.", [])
    assert torch.equal(ours.blocks[2].attn.qkv.weight, teacher.blocks[2].attn.qkv.weight)


def test_ijepa_s_file_gives_the_target_encoder():
    target, context = (randomised(vit(class_token=False), std) for std in (0.1, 0.3))
    positions = {"module.pos_embed": target.positions((4, 4))}
    checkpoint = {
        "encoder": {f"module.{n}": v for n, v in context.state_dict().items()} | positions,
        "predictor": {"module.predictor_embed.weight": torch.zeros(3, 48), "module.mask_token": torch.zeros(1, 1, 3)},
        "target_encoder": {f"module.{n}": v for n, v in target.state_dict().items()} | positions,
        "epoch": 300,
    }
    ours = vit(class_token=False)
    report = match(checkpoint, ours)
    assert (report["place"], report["missing"]) == ("target_encoder", [])
    assert torch.equal(ours.norm.weight, target.norm.weight)


def test_retfound_s_file_with_encoder_and_decoder():
    original = randomised(vit(image_size=48))
    positions = torch.cat([torch.zeros(1, 1, 48), original.positions((6, 6))], dim=1)
    extra = {"mask_token": torch.zeros(1, 1, 32), "decoder_pos_embed": torch.zeros(1, 37, 32)}
    extra |= {"decoder_embed.weight": torch.zeros(32, 48), "decoder_blocks.0.norm1.weight": torch.zeros(32)}
    ours = vit()
    report = match({"model": original.state_dict() | {"pos_embed": positions} | extra, "epoch": 799}, ours)
    assert (report["place"], report["missing"]) == ("model", [])
    assert report["unused"] == sorted([*extra, "pos_embed"])
    assert torch.equal(ours.patch_embed.proj.weight, original.patch_embed.proj.weight)


def test_dinov2_s_file_in_chunks():
    original = randomised(vit(positions="learned", register_tokens=2, layer_scale=1.0))
    state = original.state_dict()
    chunked = {n.replace("blocks.2.", "blocks.1.2.").replace("reg_", "register_"): v for n, v in state.items()}
    chunked = {n.replace("register_token", "register_tokens"): v for n, v in chunked.items()}
    assert {"blocks.1.2.ls1.gamma", "register_tokens"} <= set(chunked)
    ours = vit(positions="learned", register_tokens=2, layer_scale=1e-5)
    assert match(chunked, ours)["missing"] == []
    assert all(torch.equal(v, state[n]) for n, v in ours.state_dict().items())


@pytest.mark.parametrize("layout", ["patches alone", "registers too"])
def test_timm_s_positions_say_the_same_in_either_layout(layout, images):
    original = randomised(vit(positions="learned", register_tokens=2))
    state = {n: v.clone() for n, v in original.state_dict().items()}
    positions = state["pos_embed"]
    if layout == "patches alone":  # timm's no_embed_class: the class token holds its own position
        state["cls_token"] += positions[:, :1]
        state["pos_embed"] = positions[:, 1:]
    else:
        shift = torch.randn(1, 2, 48)
        state["reg_token"] -= shift
        state["pos_embed"] = torch.cat([positions[:, :1], shift, positions[:, 1:]], dim=1)
    ours = vit(positions="learned", register_tokens=2)
    report = match(state, ours)
    assert report["missing"] == []
    assert "pos_embed" in report["adapted"]
    with torch.no_grad():
        torch.testing.assert_close(ours(images).pooled, original(images).pooled, atol=1e-5, rtol=1e-5)


def test_positions_of_no_grid_at_all_are_another_architecture():
    state = vit(positions="learned").state_dict() | {"pos_embed": torch.zeros(1, 23, 48)}
    with pytest.raises(DataError, match=r"another architecture: pos_embed is \(1, 23, 48\), not \(1, 17, 48\)"):
        match(state, vit(positions="learned"))


def test_volumes_interpolate_positions_too():
    def cube(size):
        overrides = SMALL | {"positions": "learned"}
        return backbones.build("vit_nano", in_channels=1, spatial_dims=3, image_size=size, overrides=overrides).eval()

    original, ours = randomised(cube(16)), cube((16, 32, 24))
    assert match(original.state_dict(), ours)["adapted"] == ["pos_embed"]
    x = torch.randn(1, 1, 16, 32, 24)
    with torch.no_grad():
        torch.testing.assert_close(ours(x).pooled, original(x).pooled, atol=1e-5, rtol=1e-5)


def fine_tuned(original):
    """Return the file of a classifier that MAE's or RETFound's code fine-tuned: its norm follows the pooling."""
    state = {
        n.replace("norm.", "fc_norm.") if n.startswith("norm.") else n: v for n, v in original.state_dict().items()
    }
    return {"model": state | {"head.weight": torch.zeros(5, 48), "head.bias": torch.zeros(5)}, "epoch": 49}


def test_a_fine_tuned_file_of_retfound_gives_the_norm_of_the_mean(images):
    original = randomised(vit(positions="learned"))
    with pytest.raises(DataError, match=r"norm after pooling \('fc_norm'\).*vit\.pooling=mean_then_norm"):
        match(fine_tuned(original), vit(positions="learned"))
    ours = vit(positions="learned", pooling="mean_then_norm")
    report = match(fine_tuned(original), ours)
    assert (report["missing"], report["unused"]) == ([], ["head.bias", "head.weight"])
    with torch.no_grad():
        x = original._with_prefix(original.embed(images))
        for block in original.blocks:
            x = block(x)
        expected = torch.nn.functional.layer_norm(
            x[:, 1:, :].mean(dim=1), (48,), original.norm.weight, original.norm.bias, 1e-6
        )  # as forward_features of MAE's models_vit.py with global_pool
        torch.testing.assert_close(ours(images).pooled, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours(images).grid, original(images).grid)
        assert (ours(images).pooled - original(images).pooled).abs().max() > 0.01


@pytest.mark.parametrize("positions", ["fixed", "learned"])
def test_dinov3_is_refused_with_the_reason(positions):
    state = vit(register_tokens=4).state_dict()
    state["storage_tokens"] = state.pop("reg_token")
    with pytest.raises(DataError, match="rotate queries and keys by position, as DINOv3"):
        match(state | {"rope_embed.periods": torch.zeros(8)}, vit(register_tokens=4, positions=positions))


def test_moco_v3_s_file_gives_the_base_encoder():
    base, momentum = (randomised(vit(positions="learned"), std) for std in (0.1, 0.3))
    state = {f"module.base_encoder.{n}": v for n, v in base.state_dict().items()}
    state |= {f"module.momentum_encoder.{n}": v for n, v in momentum.state_dict().items()}
    state |= {"module.base_encoder.head.0.weight": torch.zeros(3, 48), "module.predictor.0.weight": torch.zeros(3, 3)}
    ours = vit(positions="learned")
    report = match({"state_dict": state, "epoch": 300}, ours)
    assert (report["place"], report["prefix"], report["missing"]) == ("state_dict", "module.base_encoder.", [])
    assert torch.equal(ours.norm.weight, base.norm.weight)
    alone = {n: v for n, v in state.items() if "base_encoder" not in n}
    assert match({"state_dict": alone}, ours)["prefix"] == "module.momentum_encoder."
