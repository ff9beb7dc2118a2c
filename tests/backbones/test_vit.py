import itertools

import pytest
import torch
from monai.networks.nets import ViT
from transformers import ViTConfig, ViTModel

from medssl import backbones
from medssl.backbones import vit
from medssl.backbones.parts.transformer import Block
from medssl.errors import SettingsError

SMALL = {"width": 48, "depth": 3, "heads": 4, "patch_size": 8}
CONFIG = {  # the same in the words of transformers
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "patch_size": 8,
    "num_channels": 2,
    "layer_norm_eps": 1e-6,
}


def small(**overrides):
    values = {"in_channels": 2, "spatial_dims": 2, "image_size": 32} | {
        k: overrides.pop(k) for k in ("in_channels", "spatial_dims", "image_size") if k in overrides
    }
    return backbones.build("vit_nano", overrides=SMALL | overrides, **values)


def to_transformers(state, positions):
    """Rename our weights to those of transformers' ViTModel without its pooler."""
    renamed = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": positions,
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    parts = {"attn.proj": "attention.o_proj", "norm1": "layernorm_before", "norm2": "layernorm_after"}
    for name, value in state.items():
        if not name.startswith("blocks."):
            continue
        _, block, part, kind = name.replace("attn.", "attn_").replace("mlp.", "mlp_").split(".")
        part = part.replace("_", ".")
        if part == "attn.qkv":
            for letter, third in zip("qkv", value.chunk(3)):
                renamed[f"layers.{block}.attention.{letter}_proj.{kind}"] = third
        else:
            renamed[f"layers.{block}.{parts.get(part, part)}.{kind}"] = value
    return renamed


def randomise(module):
    """Give every parameter, norms and biases too, values that matter."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.eval()


def test_forward_equals_transformers():
    torch.manual_seed(0)
    ours = randomise(small(positions="learned", image_size=(32, 24)))
    theirs = ViTModel(ViTConfig(**CONFIG, image_size=(32, 24)), add_pooling_layer=False).eval()
    state = ours.state_dict()
    theirs.load_state_dict(to_transformers(state, state["pos_embed"]))
    x = torch.randn(3, 2, 32, 24)
    with torch.no_grad():
        expected = theirs(x).last_hidden_state
        tokens = ours.encode(ours.embed(x))
        pooled, grid = ours(x)
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooled, expected[:, 1:].mean(dim=1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(grid[:, :, 2, 1], expected[:, 1 + 2 * 3 + 1], atol=1e-5, rtol=1e-5)


def to_monai(state):
    """Rename our weights without a class token to those of MONAI's ViT."""
    names = {
        "pos_embed": "patch_embedding.position_embeddings",
        "patch_embed.proj.": "patch_embedding.patch_embeddings.",
        "attn.proj.": "attn.out_proj.",
        "mlp.fc": "mlp.linear",
    }
    renamed = {}
    for name, value in state.items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed


def test_forward_in_3d_equals_monai():
    """monai.networks.nets.ViT with the same weights, in float64: all tokens, and where each lies in the grid."""
    torch.manual_seed(0)
    size, patch = (4, 16, 24), (2, 8, 8)
    ours = small(positions="learned", class_token=False, spatial_dims=3, image_size=size, patch_size=patch)
    randomise(ours.double())
    theirs = ViT(
        in_channels=2, img_size=size, patch_size=patch, hidden_size=48, mlp_dim=192, num_layers=3, num_heads=4,
        spatial_dims=3, qkv_bias=True,
    ).double()  # fmt: skip
    unknown = theirs.load_state_dict(to_monai(ours.state_dict()), strict=False)
    assert not unknown.unexpected_keys
    assert all("norm_cross_attn" in name for name in unknown.missing_keys)  # norms that nothing goes through
    for module in theirs.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    x = torch.randn(2, 2, *size).double()
    with torch.no_grad():
        expected = theirs(x)[0]
        pooled, grid = ours(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(pooled, expected.mean(dim=1), atol=1e-10, rtol=1e-10)
    assert grid.shape == (2, 48, 2, 2, 3)
    for d, h, w in itertools.product(range(2), range(2), range(3)):
        torch.testing.assert_close(grid[:, :, d, h, w], expected[:, (2 * d + h) * 3 + w], atol=1e-10, rtol=1e-10)


def test_attention_maps_equal_transformers():
    torch.manual_seed(0)
    ours = randomise(small(positions="learned", image_size=(32, 24)))
    config = CONFIG | {"image_size": (32, 24), "attn_implementation": "eager"}
    theirs = ViTModel(ViTConfig(**config), add_pooling_layer=False).eval()
    state = ours.state_dict()
    theirs.load_state_dict(to_transformers(state, state["pos_embed"]))
    x = torch.randn(3, 2, 32, 24)
    with torch.no_grad():
        expected = theirs(x, output_attentions=True).attentions
        maps = ours.attention_maps(x)
    assert maps.shape == (3, 4, 13, 13)
    torch.testing.assert_close(maps, expected[-1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(maps, expected[-2], atol=1e-2)


def test_sizes_are_those_of_the_papers():
    counts = {"vit_tiny": 5_524_416, "vit_small": 21_665_664, "vit_base": 85_798_656, "vit_large": 303_301_632}
    for name, expected in counts.items():  # timm's counts without head, for 224 px RGB
        with torch.device("meta"):
            model = vit.Backbone(vit.Settings(**vit.VARIANTS[name]), in_channels=3, spatial_dims=2, image_size=224)
        assert sum(p.numel() for p in model.parameters()) + 197 * model.width == expected


def test_parameters_have_timms_names():
    names = set(small(positions="learned").state_dict())
    block = [
        f"{n}.{k}"
        for n in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for k in ("weight", "bias")
    ]
    rest = {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"}
    assert names == rest | {f"blocks.{i}.{n}" for i in range(3) for n in block}
    assert set(small().state_dict()) == names - {"pos_embed"}


@pytest.mark.parametrize("positions", ["fixed", "learned"])
def test_other_image_sizes_work_and_need_no_other_weights(positions):
    model = small(positions=positions).eval()
    features = model(torch.randn(2, 2, 48, 24))
    assert features.pooled.shape == (2, 48)
    assert features.grid.shape == (2, 48, 6, 3)


def test_fixed_positions_do_not_depend_on_the_size_a_model_was_built_for():
    torch.manual_seed(1)
    first, second = small(image_size=32).eval(), small(image_size=(48, 24)).eval()
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 2, 48, 24)
    assert torch.equal(first(x).pooled, second(x).pooled)


def test_volumes_with_patches_of_their_own_size_along_each_axis():
    model = small(spatial_dims=3, image_size=(8, 32, 16), patch_size=(2, 8, 8))
    features = model(torch.randn(2, 2, 8, 32, 16))
    assert features.grid.shape == (2, 48, 4, 4, 2)
    features.pooled.square().sum().backward()
    assert model.patch_embed.proj.weight.grad.abs().sum() > 0


def test_places_matter_and_class_pooling_takes_the_class_token():
    torch.manual_seed(0)
    mean, first = small().eval(), small(pooling="class").eval()
    first.load_state_dict(mean.state_dict())
    x = torch.randn(1, 2, 32, 32)
    assert not torch.allclose(mean(x).pooled, mean(x.flip(-1)).pooled, atol=1e-4)
    tokens = mean.encode(mean.embed(x))
    assert torch.equal(first(x).pooled, tokens[:, 0])
    assert torch.equal(mean(x).pooled, tokens[:, 1:].mean(dim=1))
    assert small(class_token=False)(x).grid.shape == (1, 48, 4, 4)


def test_drop_path_works_on_whole_samples_in_training_only():
    model = small(drop_path=0.5)
    x = torch.randn(1, 2, 32, 32).expand(8, -1, -1, -1)
    torch.manual_seed(0)
    assert len(torch.unique(model(x).pooled, dim=0)) > 1
    assert torch.allclose(model.eval()(x).pooled, model(x[:1]).pooled, atol=1e-6)
    assert [block.drop_path.rate for block in model.blocks] == [0.0, 0.25, 0.5]
    drop = model.blocks[2].drop_path.train()
    dropped = drop(torch.ones(1000, 2, 3))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped.flatten(1).std(dim=1), torch.zeros(1000))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.15)


def test_registers_see_and_are_seen_but_are_no_feature():
    torch.manual_seed(0)
    model = randomise(small(register_tokens=3, layer_scale=0.1))
    x = torch.randn(2, 2, 32, 32)
    before = model(x)
    assert before.grid.shape == (2, 48, 4, 4)
    assert model.prefix_tokens == 4
    tokens = model.encode(model.embed(x))
    assert torch.equal(before.pooled, tokens[:, 4:].mean(dim=1))
    assert model.attention_maps(x).shape == (2, 4, 20, 20)
    model.reg_token.data.neg_()
    assert not torch.allclose(model(x).pooled, before.pooled, atol=1e-4)


def test_layer_scale_multiplies_both_branches():
    torch.manual_seed(0)
    block = randomise(Block(48, 4, layer_scale=0.5))
    x = torch.randn(2, 5, 48)
    half = x + block.ls1.gamma * block.attn(block.norm1(x))
    assert torch.equal(block(x), half + block.ls2.gamma * block.mlp(block.norm2(half)))
    assert torch.equal(Block(48, 4, layer_scale=0.5).ls2.gamma, torch.full((48,), 0.5))


@pytest.mark.parametrize("patch", [8, 14, 16])
def test_patches_of_the_papers_sizes(patch):
    model = small(patch_size=patch, image_size=112)
    assert model(torch.randn(1, 2, 112, 112)).grid.shape == (1, 48, 112 // patch, 112 // patch)


def test_every_parameter_has_a_depth():
    model = small(positions="learned", register_tokens=1, layer_scale=0.1)
    assert model.layer_index("reg_token") == 0
    assert model.layer_index("blocks.1.ls1.gamma") == 2
    depths = {name: model.layer_index(name) for name, _ in model.named_parameters()}
    assert depths["cls_token"] == depths["pos_embed"] == depths["patch_embed.proj.weight"] == 0
    assert depths["blocks.2.mlp.fc1.weight"] == 3
    assert depths["norm.weight"] == model.layer_count - 1 == 4
    assert set(depths.values()) == set(range(model.layer_count))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"heads": 5}, "vit.heads.*48.*5"),
        ({"pooling": "class", "class_token": False}, "vit.pooling"),
        ({"patch_size": 7}, "multiple of the patch size.*32 x 32.*7 x 7"),
        ({"patch_sise": 8}, "vit.patch_sise.*patch_size"),
        ({"depth": 0}, "vit.depth"),
        ({"spatial_dims": 4}, "spatial_dims"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_sentence(overrides, text):
    with pytest.raises(SettingsError, match=text):
        small(**overrides)


def test_unknown_variants_get_the_nearest_name():
    with pytest.raises(SettingsError, match=r"vit_smal.*Did you mean 'vit_small'.*resnet18"):
        backbones.build("vit_smal", in_channels=1, image_size=32)
