import itertools
import math
import re

import pytest
import torch
from monai.networks.nets import MaskedAutoEncoderViT
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from medssl import backbones, methods
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.parts.token_masks import take
from medssl.training.estimate import flop_counter

SMALL = {"width": 48, "depth": 3, "heads": 4, "patch_size": 8}
DECODER = {"decoder_width": 32, "decoder_depth": 2, "decoder_heads": 2}


def mae(image_size=32, channels=2, spatial_dims=2, backbone=None, **settings):
    overrides = SMALL | (backbone or {})
    model = backbones.build(
        "vit_nano", in_channels=channels, spatial_dims=spatial_dims, image_size=image_size, overrides=overrides
    )
    return methods.build("mae", model, DECODER | settings)


def blocks_to_transformers(state, ours, theirs):
    """Rename the blocks under one name to those under another, with queries, keys and values apart."""
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj"}
    renamed = {}
    for name, value in state.items():
        if not name.startswith(f"{ours}."):
            continue
        block, _, rest = name.removeprefix(f"{ours}.").partition(".")
        part, _, kind = rest.rpartition(".")
        if part == "attn.qkv":
            thirds = zip("qkv", value.chunk(3))
            renamed |= {f"{theirs}.{block}.attention.{letter}_proj.{kind}": third for letter, third in thirds}
        else:
            renamed[f"{theirs}.{block}.{names.get(part, part)}.{kind}"] = value
    return renamed


def to_transformers(method):
    """Rename the weights of a whole MAE to those of transformers' ViTMAEForPreTraining."""
    state = method.state_dict()
    pairs = {
        "vit.embeddings.cls_token": "backbone.cls_token",
        "vit.embeddings.patch_embeddings.projection": "backbone.patch_embed.proj",
        "vit.layernorm": "backbone.norm",
        "decoder.mask_token": "decoder.mask_token",
        "decoder.decoder_embed": "decoder.embed",
        "decoder.decoder_norm": "decoder.norm",
        "decoder.decoder_pred": "decoder.pred",
    }
    renamed = {}
    for theirs, ours in pairs.items():
        renamed |= {theirs + name.removeprefix(ours): value for name, value in state.items() if name.startswith(ours)}
    renamed |= blocks_to_transformers(state, "backbone.blocks", "vit.layers")
    return renamed | blocks_to_transformers(state, "decoder.blocks", "decoder.decoder_layers")


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_loss_and_gradients_equal_transformers_with_the_same_noise(norm_pix_loss):
    torch.manual_seed(0)
    ours = mae(image_size=48, norm_pix_loss=norm_pix_loss)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    config = ViTMAEConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        image_size=48,
        patch_size=8,
        num_channels=2,
        layer_norm_eps=1e-6,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=128,
        mask_ratio=0.75,
        norm_pix_loss=norm_pix_loss,
    )
    theirs = ViTMAEForPreTraining(config)
    theirs.decoder.initialize_weights(36)  # fixed positions, which transformers 5 leaves at zero
    theirs.vit.embeddings.position_embeddings.data[:, 1:] = ours.backbone.positions((6, 6))
    unknown = theirs.load_state_dict(to_transformers(ours), strict=False)
    assert set(unknown.missing_keys) == {"vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"}
    assert not unknown.unexpected_keys
    x = torch.randn(3, 2, 48, 48) * torch.tensor([1.0, 5.0, 0.2]).reshape(3, 1, 1, 1) + 2
    noise = torch.from_numpy(Chance([5, 6, 7]).uniform(size=(36,)))
    loss = ours([x], Chance([5, 6, 7]))["loss"]
    expected = theirs(x, noise=noise)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=1e-5)
    split = ours._split(x, Chance([5, 6, 7]))
    encoded = ours.backbone.encode(take(ours.backbone.embed(x), split.visible))
    shuffled = theirs.vit(x, noise=noise).last_hidden_state  # its patches in the order of the noise
    mine = take(encoded[:, 1:], split.visible.argsort(dim=1))
    order = noise.argsort(dim=1)[:, : mine.shape[1]]
    torch.testing.assert_close(encoded[:, 0], shuffled[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine, take(shuffled[:, 1:], order.argsort(dim=1)), atol=1e-5, rtol=1e-5)
    predicted = ours.decoder(encoded, split, (6, 6))
    torch.testing.assert_close(predicted, take(expected.logits, split.masked), atol=1e-5, rtol=1e-5)
    loss.backward()
    expected.loss.backward()
    for mine, name in [
        (ours.backbone.patch_embed.proj.weight, "vit.embeddings.patch_embeddings.projection.weight"),
        (ours.decoder.mask_token, "decoder.mask_token"),
        (ours.backbone.blocks[1].mlp.fc1.weight, "vit.layers.1.mlp.fc1.weight"),
    ]:
        torch.testing.assert_close(mine.grad, theirs.get_parameter(name).grad, atol=1e-4, rtol=1e-4)


def to_monai(method):
    """Rename the weights of a whole MAE to those of MONAI's MaskedAutoEncoderViT."""
    names = {
        r"^backbone\.cls_token$": "cls_token",
        r"^backbone\.patch_embed\.proj\.": "patch_embedding.patch_embeddings.",
        r"^backbone\.norm\.": f"blocks.{method.backbone.depth}.",
        r"^backbone\.blocks\.": "blocks.",
        r"^decoder\.mask_token$": "mask_tokens",
        r"^decoder\.embed\.": "decoder_embed.",
        r"^decoder\.norm\.": f"decoder_blocks.{len(method.decoder.blocks)}.",
        r"^decoder\.blocks\.": "decoder_blocks.",
        r"^decoder\.pred\.": "decoder_pred.",
        r"attn\.proj\.": "attn.out_proj.",
        r"mlp\.fc(\d)\.": r"mlp.linear\1.",
    }
    state = method.state_dict()
    for pattern, new in names.items():
        state = {re.sub(pattern, new, name): value for name, value in state.items()}
    return state


def in_monai(method, size, patch):
    """Return MONAI's MaskedAutoEncoderViT with the weights and positions of ours."""
    theirs = MaskedAutoEncoderViT(
        in_channels=2, img_size=size, patch_size=patch, hidden_size=48, mlp_dim=192, num_layers=3, num_heads=4,
        decoder_hidden_size=32, decoder_mlp_dim=128, decoder_num_layers=2, decoder_num_heads=2,
        pos_embed_type="learnable", decoder_pos_embed_type="learnable", spatial_dims=len(size), qkv_bias=True,
    ).double()  # fmt: skip
    unknown = theirs.load_state_dict(to_monai(method), strict=False)
    assert not unknown.unexpected_keys
    own = [name for name in unknown.missing_keys if "norm_cross_attn" not in name]  # norms that nothing goes through
    assert own == ["decoder_pos_embedding", "patch_embedding.position_embeddings"]
    grid = method.backbone.grid
    theirs.patch_embedding.position_embeddings.data.copy_(method.backbone.positions(grid))
    theirs.decoder_pos_embedding.data.copy_(method.decoder.positions(grid))
    for module in theirs.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    return theirs


@pytest.mark.parametrize(("size", "patch"), [((32, 48), (8, 8)), ((16, 24, 32), (8, 8, 8)), ((4, 16, 24), (2, 8, 8))])
def test_predictions_and_loss_equal_monais_masked_autoencoder(size, patch, monkeypatch):
    """monai.networks.nets.MaskedAutoEncoderViT with the same weights, positions and visible patches, in float64.

    Compared are the pixels that are predicted for hidden patches, the loss of these and a gradient of the encoder. It
    draws its own patches and has no loss, so that ours are handed in and the loss is written out; its fixed positions
    have another order of axes, and are replaced by ours (`tests/backbones/test_positions.py` has their formula).
    """
    torch.manual_seed(0)
    ours = mae(image_size=size, spatial_dims=len(size), backbone={"patch_size": patch}, mask_ratio=0.6).double()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs, x, chance = in_monai(ours, size, patch), torch.randn(3, 2, *size).double() * 3 + 1, Chance([5, 6, 7])
    split = ours._split(x, Chance([5, 6, 7]))
    hidden = torch.ones(3, len(split.visible[0]) + len(split.masked[0])).scatter(1, split.visible, 0)
    kept = lambda tokens, masking_ratio=None: (take(tokens, split.visible), split.visible, hidden)  # noqa: E731
    monkeypatch.setattr(theirs, "_masking", kept)
    expected = take(theirs(x)[0], split.masked)
    torch.testing.assert_close(ours._predict(x, split), expected, atol=1e-9, rtol=1e-9)

    total, patches = 0.0, cut(x, patch)
    for image in range(3):
        for place, predicted in zip(split.masked[image], expected[image], strict=True):
            pixels = patches[image][place]
            wanted = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
            total = total + (predicted - wanted).square().mean() / split.masked.numel()
    loss = ours([x], chance)["loss"]
    torch.testing.assert_close(loss, total, atol=1e-9, rtol=1e-9)
    loss.backward()
    total.backward()
    theirs_too = theirs.patch_embedding.patch_embeddings.weight.grad
    torch.testing.assert_close(ours.backbone.patch_embed.proj.weight.grad, theirs_too, atol=1e-9, rtol=1e-7)


def cut(images, patch):
    """Return the patches of each image in C order, voxel by voxel, the channels of a voxel side by side."""
    steps = [range(0, edge, piece) for edge, piece in zip(images.shape[2:], patch, strict=True)]
    corners = list(itertools.product(*steps))
    boxes = [tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True)) for corner in corners]
    return [[image[(slice(None), *box)].movedim(0, -1).flatten() for box in boxes] for image in images]


def test_loss_is_one_patchwise_formula_on_masked_patches(monkeypatch):
    method, x = mae(image_size=16, channels=1), torch.randn(2, 1, 16, 16)
    split = method._split(x, Chance([1, 2]))
    prediction = torch.randn(2, 3, 64)
    monkeypatch.setattr(method.decoder, "forward", lambda *_: prediction)
    total = 0.0
    for b in range(2):
        for m in range(3):
            row, column = divmod(int(split.masked[b, m]), 2)
            patch = x[b, 0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].flatten()
            target = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            total += float((prediction[b, m] - target).square().mean()) / 6
    assert method([x], Chance([1, 2]))["loss"].item() == pytest.approx(total, rel=1e-5)


def test_predicting_nothing_costs_the_variance_of_a_normalised_patch():
    method = mae(image_size=32, channels=1)
    torch.nn.init.zeros_(method.decoder.pred.weight)
    loss = method([100 * torch.randn(4, 1, 32, 32) + 30], Chance([1, 2, 3, 4]))["loss"]
    assert loss.item() == pytest.approx(63 / 64, rel=1e-4)  # the variance is unbiased, over 64 pixels


def test_the_encoder_sees_visible_patches_only(monkeypatch):
    method, x = mae(), torch.randn(2, 2, 32, 32)
    seen = []
    encode = method.backbone.encode
    monkeypatch.setattr(method.backbone, "encode", lambda tokens: seen.append(tokens.detach()) or encode(tokens))
    masked, _ = method.reconstruct(x, Chance([1, 2]))
    first = method([x], Chance([1, 2]))["loss"]
    second = method([torch.where(masked == x, x, x.flip(0))], Chance([1, 2]))["loss"]
    assert seen[1].shape == (2, 4, 48)  # a quarter of 16 patches
    assert torch.equal(seen[1], seen[2])
    assert first != second


def test_masks_differ_between_samples_and_follow_the_generator():
    method, x = mae(), torch.randn(1, 2, 32, 32).expand(8, -1, -1, -1)
    masked, _ = method.reconstruct(x, Chance(list(range(8))))
    assert len(torch.unique((masked == x).flatten(1), dim=0)) > 4
    again, _ = method.reconstruct(x[3:4], Chance([3]))
    assert torch.equal(masked[3:4], again)


def test_reconstruction_is_in_pixels_and_keeps_what_was_visible():
    torch.manual_seed(0)
    method, x = mae(mask_ratio=0.5), 50 * torch.rand(2, 2, 32, 32) + 1000
    method.train()
    masked, whole = method.reconstruct(x, Chance([1, 2]))
    assert method.training
    assert masked.shape == whole.shape == x.shape
    visible = masked == x
    assert visible.float().mean() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(whole[visible], x[visible])
    assert (whole[~visible] - x[~visible]).abs().max() < 200
    assert not torch.equal(whole, x)
    for sample in range(2):
        assert masked[sample][~visible[sample]].unique().numel() == 1
        assert float(masked[sample][~visible[sample]][0]) == pytest.approx(
            float(x[sample][visible[sample]].mean()), rel=1e-5
        )


def test_a_perfect_prediction_gives_the_image_back(monkeypatch):
    method, x = mae(image_size=16, channels=1), 7 * torch.randn(1, 1, 16, 16) + 40
    split = method._split(x, Chance([9]))
    patches = torch.stack(
        [x[0, 0, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8].flatten() for r, c in ((0, 0), (0, 1), (1, 0), (1, 1))]
    )
    truth = patches[split.masked[0]][None]
    normalised = (truth - truth.mean(-1, keepdim=True)) / (truth.var(-1, keepdim=True) + 1e-6).sqrt()
    monkeypatch.setattr(method, "_predict", lambda *_: normalised)
    torch.testing.assert_close(method.reconstruct(x, Chance([9]))[1], x, atol=1e-4, rtol=0)


def test_pixels_predicted_as_they_are_need_nothing_back(monkeypatch):
    method, x = mae(image_size=16, channels=1, norm_pix_loss=False), torch.randn(1, 1, 16, 16) + 40
    split = method._split(x, Chance([9]))
    patches = x.reshape(1, 2, 8, 2, 8).movedim(3, 2).reshape(1, 4, 64)
    monkeypatch.setattr(method, "_predict", lambda *_: patches[:, split.masked[0]])
    assert torch.equal(method.reconstruct(x, Chance([9]))[1], x)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("vit_nano", (128, 1, 4)), ("vit_tiny", (128, 4, 4)), ("vit_small", (256, 4, 8)), ("vit_large", (512, 8, 16))],
)
def test_the_decoder_is_light_unless_told_otherwise(name, expected):
    with torch.device("meta"):
        method = methods.build("mae", backbones.build(name, in_channels=1, image_size=32))
    width, depth, heads = expected
    assert method.decoder.embed.out_features == width
    assert len(method.decoder.blocks) == depth
    assert method.decoder.blocks[0].attn.heads == heads
    assert method.settings.mask_ratio == 0.75


def test_volumes_with_uneven_patches():
    method = mae(image_size=(4, 16, 16), spatial_dims=3, channels=1, backbone={"patch_size": (2, 8, 8)}, mask_ratio=0.5)
    x = torch.randn(2, 1, 4, 16, 16)
    method([x], Chance([1, 2]))["loss"].backward()
    assert method.backbone.patch_embed.proj.weight.grad.abs().sum() > 0
    masked, whole = method.reconstruct(x, Chance([1, 2]))
    assert whole.shape == x.shape
    assert torch.equal(whole[masked == x], x[masked == x])


def test_bf16_autocast_stays_near_float32():
    torch.manual_seed(0)
    method, x = mae(), torch.randn(2, 2, 32, 32)
    exact = method([x], Chance([1, 2]))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = method([x], Chance([1, 2]))["loss"]
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def test_what_does_not_fit_is_refused_in_a_sentence():
    resnet = backbones.build("resnet18", in_channels=1, image_size=32, overrides={"stem_width": 4})
    with pytest.raises(SettingsError, match=r"MAE needs a sequence of patch tokens.*resnet18.*vit_small"):
        methods.build("mae", resnet)
    with pytest.raises(SettingsError, match="decoder_heads"):
        mae(decoder_heads=3)
    with pytest.raises(SettingsError, match=r"mae\.mask_ratio"):
        mae(mask_ratio=1.0)
    with pytest.raises(SettingsError, match=r"mask_ratio 0\.9 leaves 0 of 4"):
        mae(image_size=16, mask_ratio=0.9)([torch.randn(1, 2, 16, 16)], Chance([1]))
    with pytest.raises(SettingsError, match=r"mae\.mask_ration.*mask_ratio"):
        mae(mask_ration=0.5)


def operations(run):
    with flop_counter() as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "side", "dims", "share"),
    [("vit_small", 224, 2, 0.242), ("vit_nano", 64, 2, 0.254), ("vit_nano", 48, 3, 0.260)],
)
def test_the_encoder_costs_near_a_quarter_at_a_mask_ratio_of_three_quarters(name, side, dims, share):
    """A block takes 24 T D^2 + 4 T^2 D for T tokens; every patch is embedded, hidden or not."""
    size = {"patch_size": 16 if side == 224 else 8}
    backbone = backbones.build(name, in_channels=1, spatial_dims=dims, image_size=side, overrides=size)
    method, view = methods.build("mae", backbone, {"mask_ratio": 0.75}), torch.randn(1, 1, *(side,) * dims)
    patches, width = math.prod(backbone.grid), backbone.width
    split = method._split(view, Chance([0]))
    with torch.no_grad():
        embedding = operations(lambda: backbone.embed(view))
        whole, encoder = operations(lambda: backbone(view)), operations(lambda: method._encode(view, split))

    def blocks(tokens):
        return backbone.depth * (24 * tokens * width**2 + 4 * tokens**2 * width)

    assert split.visible.shape[1] == patches // 4
    assert encoder - embedding == blocks(1 + patches // 4)
    assert whole - embedding == blocks(1 + patches)
    assert encoder / whole == pytest.approx(share, abs=0.001)
