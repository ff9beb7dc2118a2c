import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import IJepaConfig, IJepaModel

from medssl import backbones, methods
from medssl.chance import Chance, key
from medssl.errors import SettingsError
from medssl.methods.parts.block_masks import box_of, draw_blocks


def make(image_size=64, dims=2, **settings):
    torch.manual_seed(0)
    overrides = {"patch_size": 8, "depth": 2}
    backbone = backbones.build("vit_nano", in_channels=1, image_size=image_size, spatial_dims=dims, overrides=overrides)
    return methods.build("ijepa", backbone, settings)


def to_transformers(encoder, grid):
    """Rename the weights of a ViT without a class token to those of transformers' IJepaModel."""
    state, names = encoder.state_dict(), {"norm1": "layernorm_before", "norm2": "layernorm_after"}
    renamed = {"embeddings.position_embeddings": encoder.positions(grid)}
    for name, value in state.items():
        block, _, part = name.removeprefix("blocks.").partition(".")
        part, _, kind = part.rpartition(".")
        if part == "attn.qkv":
            for letter, third in zip("qkv", value.chunk(3)):
                renamed[f"layers.{block}.attention.{letter}_proj.{kind}"] = third
        elif name.startswith("blocks."):
            part = part.replace("attn.proj", "attention.o_proj")
            renamed[f"layers.{block}.{names.get(part, part)}.{kind}"] = value
        else:
            name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
            renamed[name.replace("norm.", "layernorm.")] = value
    return renamed


def test_targets_and_loss_follow_from_transformers_encoder():
    torch.manual_seed(0)
    overrides = {"patch_size": 8, "depth": 2, "width": 48, "class_token": False}
    backbone = backbones.build("vit_nano", in_channels=2, image_size=48, overrides=overrides)
    method = methods.build("ijepa", backbone)
    for encoder in (method.backbone, method.target_encoder):
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    config = IJepaConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        image_size=48,
        patch_size=8,
        num_channels=2,
        layer_norm_eps=1e-6,
    )
    theirs = IJepaModel(config).eval()
    x = torch.randn(3, 2, 48, 48)
    chance = Chance([5, 6, 7])
    blocks = method._blocks(chance, (6, 6))
    with torch.no_grad():
        theirs.load_state_dict(to_transformers(method.target_encoder, (6, 6)))
        whole = theirs(x).last_hidden_state
        grid = method.target_encoder(x).grid.flatten(2).transpose(1, 2)
        torch.testing.assert_close(grid, whole, atol=1e-5, rtol=1e-5)
        target = F.layer_norm(whole, (48,))
        target = torch.stack([t[i] for t, i in zip(target, blocks.targets)])  # (B, T, M, D)
        torch.testing.assert_close(method._targets(x, blocks), target, atol=1e-5, rtol=1e-5)

        theirs.load_state_dict(to_transformers(method.backbone, (6, 6)))
        tokens = theirs.embeddings(x)
        context = torch.stack([t[i] for t, i in zip(tokens, blocks.context)])
        for layer in theirs.layers:
            context = layer(context, None)
        prediction = method.predictor(theirs.layernorm(context), blocks, (6, 6))
        loss = method([x], Chance([5, 6, 7]))["loss"]
    torch.testing.assert_close(loss, (prediction - target).square().mean(), atol=1e-5, rtol=1e-5)


def sines(grid, width):
    """Return a vector a place: sines and cosines of its column, then of its row."""
    half, table = width // 4, []
    for row in range(grid[0]):
        for column in range(grid[1]):
            angles = [[index * 10000 ** (-i / half) for i in range(half)] for index in (column, row)]
            table.append([f(x) for axis in angles for f in (math.sin, math.cos) for x in axis])
    return torch.tensor(table, dtype=torch.float64)


def test_the_predictor_agrees_with_a_slow_version():
    """Image by image and box by box in float64: embedded context and mask tokens, each at the position of its place."""
    method = make(image_size=(48, 64), predictor_width=64)
    predictor = method.predictor.double()
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    grid, noise = (6, 8), torch.Generator().manual_seed(3)
    blocks = method._blocks(Chance([4, 5]), grid)
    encoded = torch.randn(2, blocks.context.shape[1], 128, generator=noise, dtype=torch.float64)
    table = sines(grid, 64)
    with torch.no_grad():
        found = predictor(encoded, blocks, grid)
        for image in range(2):
            for box, places in enumerate(blocks.targets[image]):
                tokens = [predictor.embed(e) + table[p] for e, p in zip(encoded[image], blocks.context[image])]
                tokens += [predictor.mask_token[0, 0] + table[place] for place in places]
                x = torch.stack(tokens)[None]
                for block in predictor.blocks:
                    x = block(x)
                expected = predictor.proj(predictor.norm(x[0, -len(places) :]))
                # positions are kept in float32
                torch.testing.assert_close(found[image, box], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-2)


@pytest.mark.parametrize(
    ("name", "expected"), [("vit_nano", (128, 2, 4)), ("vit_base", (384, 6, 12)), ("vit_large", (384, 12, 12))]
)
def test_the_predictor_is_as_narrow_as_the_papers(name, expected):
    with torch.device("meta"):
        predictor = methods.build("ijepa", backbones.build(name, in_channels=3, image_size=224)).predictor
    assert (predictor.embed.out_features, len(predictor.blocks), predictor.blocks[0].attn.heads) == expected


def many(count):
    return Chance([key("place", i) for i in range(count)])


@pytest.mark.parametrize("grid", [(14, 14), (6, 6, 6)])
def test_boxes_have_the_share_and_the_aspect_asked_for(grid):
    boxes = np.array([box_of(Chance([key(i)]), grid, (0.15, 0.2), (0.75, 1.5)) for i in range(300)])
    shares = boxes.prod(axis=1) / np.prod(grid)
    assert 0.14 < shares.mean() < 0.21
    assert shares.min() > 0.09
    assert shares.max() < 0.30  # rounding to patches included
    ratios = boxes[:, :-1] / boxes[:, -1:]
    assert len(np.unique(ratios)) > 3
    assert ratios.min() >= 0.5
    assert ratios.max() <= 2.0


def test_targets_are_boxes_and_the_context_has_none_of_them():
    grid, blocks = (8, 10), draw_blocks(many(50), (8, 10), [3, 4], [8, 9], count=4, keep=24)
    assert blocks.targets.shape == (50, 4, 12)
    assert blocks.context.shape == (50, 24)
    for context, targets in zip(blocks.context.numpy(), blocks.targets.numpy(), strict=True):
        assert not set(context) & set(targets.ravel())
        assert len(set(context)) == 24
        for target in targets:
            rows, columns = np.unravel_index(target, grid)
            assert rows.max() - rows.min() == 2
            assert columns.max() - columns.min() == 3
            assert len(set(target)) == 12


def test_every_place_is_as_often_in_the_context_as_its_mirror_image():
    """Cutting contexts in raster order would empty the last rows: they must be seen as often as the first."""
    blocks = draw_blocks(many(4000), (8, 8), [3, 3], [8, 8], count=4, keep=20)
    seen = np.bincount(blocks.context.numpy().ravel(), minlength=64).reshape(8, 8) / 4000
    for mirrored in (seen[::-1], seen[:, ::-1], seen.T):
        np.testing.assert_allclose(seen, mirrored, atol=0.06)
    assert seen.min() > 0.15


def test_a_sample_has_its_boxes_whatever_its_batch():
    alone = draw_blocks(Chance([key("a")]), (8, 8), [3, 3], [7, 7], count=2, keep=20)
    among = draw_blocks(Chance([key("b"), key("a"), key("c")]), (8, 8), [3, 3], [7, 7], count=2, keep=20)
    assert torch.equal(alone.context[0], among.context[1])
    assert torch.equal(alone.targets[0], among.targets[1])


def test_the_loss_is_the_distance_to_normalised_features_of_the_target_encoder():
    method = make()
    view, chance = torch.randn(3, 1, 64, 64), Chance([1, 2, 3])
    with torch.no_grad():
        method.target_encoder.patch_embed.proj.weight.mul_(-1)  # so that the encoders differ
        blocks = method._blocks(Chance([1, 2, 3]), (8, 8))
        tokens = method.target_encoder.encode(method.target_encoder.embed(view))[:, 1:]
        total, terms = 0.0, 0
        for b in range(3):
            context = method.backbone.embed(view[b : b + 1])[:, blocks.context[b]]
            encoded = method.backbone.encode(context)[:, 1:]
            one = type(blocks)(blocks.context[b : b + 1], blocks.targets[b : b + 1])
            predicted = method.predictor(encoded, one, (8, 8))[0]
            for t in range(4):
                for m, place in enumerate(blocks.targets[b, t]):
                    feature = tokens[b, place]
                    wanted = (feature - feature.mean()) / (feature.var(unbiased=False) + 1e-5).sqrt()
                    total += float(((predicted[t, m] - wanted) ** 2).mean())
                    terms += 1
        loss = method([view], chance)["loss"]
    assert loss.item() == pytest.approx(total / terms, rel=1e-5)


def test_a_target_is_predicted_without_the_others():
    method = make().eval()
    blocks = method._blocks(Chance([5]), (8, 8))
    encoded = torch.randn(1, blocks.context.shape[1], 128)
    together = method.predictor(encoded, blocks, (8, 8))
    alone = method.predictor(encoded, type(blocks)(blocks.context, blocks.targets[:, 2:3]), (8, 8))
    torch.testing.assert_close(together[:, 2:3], alone)


def test_the_context_encoder_sees_nothing_else():
    method = make()
    view = torch.randn(2, 1, 64, 64, requires_grad=True)
    blocks = method._blocks(Chance([1, 2]), (8, 8))
    with torch.no_grad():
        target = method._targets(view, blocks)
    terms = method([view], Chance([1, 2]))
    terms["loss"].backward()
    seen = F.max_pool2d(view.grad.abs(), 8).flatten(1) > 0
    for row, context in zip(seen, blocks.context, strict=True):
        assert set(row.nonzero().ravel().tolist()) == set(context.tolist())
    assert not target.requires_grad


def test_the_target_encoder_moves_by_a_momentum_that_rises_in_a_line():
    method = make(momentum=0.9)
    with torch.no_grad():
        method.backbone.norm.weight.add_(1)
    method.after_step(5, 10)
    torch.testing.assert_close(method.target_encoder.norm.weight, torch.full((128,), 1 + 0.05))
    assert methods.exported(method) is method.target_encoder


def test_sizes_follow_the_step_and_come_back_on_resume():
    method = make(image_size=128)
    sizes = []
    for step in range(8):
        sizes.append(method._blocks(Chance([1]), (16, 16)).targets.shape[2])
        method.after_step(step, 10)
    assert len(set(sizes)) > 1
    again = make(image_size=128)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again._blocks(Chance([1]), (16, 16)).targets, method._blocks(Chance([1]), (16, 16)).targets)


def test_targets_that_leave_no_context_are_refused():
    method = make(targets=8, target_scale=(0.5, 0.6))
    with pytest.raises(SettingsError, match=r"8 targets of .* leave too few of 64"):
        method([torch.randn(2, 1, 64, 64)], Chance([1, 2]))
