import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medssl import backbones, discovery, methods
from medssl.backbones.parts.sparse import Visible
from medssl.backbones.weights import export, load_backbone
from medssl.chance import Chance
from medssl.data.phantom.oct import draw_bscans
from medssl.data.phantom.parts.plan import plan
from medssl.errors import SettingsError

STAGED = [name for name in discovery.names("backbones") if methods.supports("spark", name)]
NARROW = {"resnet": {"stem_width": 8}}  # only to save time; a new family needs no entry
SIZES = {2: (64, 96), 3: (32, 48, 32)}
EVERY = pytest.mark.parametrize(("family", "dims"), [(f, d) for f in STAGED for d in (2, 3)])


def spark(family="resnet", dims=2, size=None, channels=2, **settings):
    torch.manual_seed(0)
    name = next(iter(discovery.load("backbones", family).VARIANTS))
    sizes = {"spatial_dims": dims, "image_size": size or SIZES[dims]}
    backbone = backbones.build(name, in_channels=channels, overrides=NARROW.get(family), **sizes)
    method = methods.build("spark", backbone, settings)
    for parameter in backbone.parameters():  # blocks that start as their shortcut would hide what they do
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1, 0.3)
    return method


def views(method, count=3):
    return torch.randn(count, method.backbone.in_channels, *method.backbone.image_size)


def pixels_of(method, split, size):
    """Return where blocks are hidden, (B, 1, *size) booleans, block by block."""
    hidden = torch.zeros(len(split.masked), 1, *size, dtype=torch.bool)
    grid = [edge // block for edge, block in zip(size, method.block, strict=True)]
    for sample, blocks in enumerate(split.masked.tolist()):
        for block in blocks:
            place = np.unravel_index(block, grid)
            hidden[(sample, 0, *(slice(p * b, (p + 1) * b) for p, b in zip(place, method.block, strict=True)))] = True
    return hidden


@EVERY
def test_hidden_pixels_matter_to_nothing_but_the_target(family, dims):
    method = spark(family, dims)
    x, chance = views(method), lambda: Chance([1, 2, 3])
    split = method._split(x, chance())
    visible = method._visible(x, split)
    hidden = pixels_of(method, split, x.shape[2:])
    assert torch.equal(visible.at(x.shape[2:]), ~hidden)
    other = torch.where(hidden, 100 * torch.randn_like(x) + 7, x)
    other[hidden.expand_as(other)] *= torch.tensor([1.0, float("inf"), float("nan")])[
        torch.arange(int(hidden.expand_as(other).sum())) % 3
    ]
    for first, second in zip(method._encode(x, visible), method._encode(other, visible), strict=True):
        assert torch.equal(first, second)
        assert not first[~visible.at(first.shape[2:]).expand_as(first)].any()
        seen = first[visible.at(first.shape[2:]).expand_as(first)]
        assert (seen != 0).float().mean() > 0.99  # a channel that is alike at the two places of a map is 0
    assert torch.equal(method._predict(x, split), method._predict(other, split))
    moved = torch.where(hidden, x.flip(0) * 3, x)
    assert method([x], chance())["loss"] != method([moved], chance())["loss"]
    changed = torch.where(hidden, x, x + 0.1)
    assert not torch.equal(method._predict(x, split), method._predict(changed, split))


@EVERY
def test_every_convolution_and_norm_of_the_backbone_leaves_hidden_places_empty(family, dims):
    method = spark(family, dims)
    x = views(method)
    visible = method._visible(x, method._split(x, Chance([1, 2, 3])))
    seen = []
    kinds = (nn.Conv2d, nn.Conv3d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm)
    layers = [layer for layer in method.backbone.modules() if isinstance(layer, kinds)]
    for layer in layers:
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.detach().clone()))
    method._encode(x, visible)
    assert len(seen) == len(layers) > 8
    for output in seen:
        mask = visible.at(output.shape[2:]).expand_as(output)
        assert not output[~mask].any()
        assert output[mask].any()


def test_the_norms_of_the_backbone_remember_visible_places_alone():
    method = spark().double()
    x = views(method).double()
    split = method._split(x, Chance([1, 2, 3]))
    first = method.backbone.conv1(x.masked_fill(pixels_of(method, split, x.shape[2:]), 0)).detach()
    method._encode(x, method._visible(x, split))
    mask = ~pixels_of(method, split, x.shape[2:])[:, 0, ::2, ::2]
    values = first.movedim(1, -1)[mask]
    torch.testing.assert_close(method.backbone.bn1.running_mean, 0.1 * values.mean(0))
    torch.testing.assert_close(method.backbone.bn1.running_var, 0.9 + 0.1 * values.var(0))


@EVERY
def test_no_gradient_of_the_prediction_reaches_hidden_pixels(family, dims):
    method = spark(family, dims)
    x = views(method).requires_grad_()
    split = method._split(x, Chance([1, 2, 3]))
    method._predict(x, split).square().sum().backward()
    hidden = pixels_of(method, split, x.shape[2:]).expand_as(x)
    assert not x.grad[hidden].any()
    assert (x.grad[~hidden] != 0).float().mean() > 0.9


@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_with_nothing_hidden_the_sparse_encoder_is_the_dense_one(family, dims, training):
    method = spark(family, dims).double().train(training)
    x = views(method).double()
    names = list(method.backbone.state_dict())
    grid = [edge // block for edge, block in zip(x.shape[2:], method.block, strict=True)]
    dense = [norm(m) for norm, m in zip(method.norms, method.backbone.stages(x), strict=True)]
    after_dense = {name: value.clone() for name, value in method.backbone.state_dict().items()}
    method = spark(family, dims).double().train(training)
    everything = Visible(torch.ones(len(x), *grid, dtype=torch.bool), x.shape[2:])
    for ours, theirs in zip(method._encode(x, everything), dense, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
    assert list(method.backbone.state_dict()) == names
    torch.testing.assert_close(method.backbone.state_dict(), after_dense, atol=1e-10, rtol=1e-10)


@EVERY
def test_what_is_exported_is_a_plain_backbone(family, dims, tmp_path):
    method = spark(family, dims)
    x = views(method)
    method([x], Chance([1, 2, 3]))["loss"].backward()
    plain = spark(family, dims).backbone
    assert not any("forward" in vars(layer) for layer in method.modules())
    plain.load_state_dict(methods.exported(method).state_dict())  # strict
    export(methods.exported(method), tmp_path / "b", {})
    with torch.no_grad():
        assert torch.equal(load_backbone(tmp_path / "b")(x).pooled, plain.eval()(x).pooled)


def test_the_loss_is_a_slow_loop_over_hidden_pixels(monkeypatch):
    for normalise, dims in itertools.product((True, False), (2, 3)):
        method = spark(dims=dims, size=(32, 48) if dims == 2 else (16, 24, 16), norm_pix_loss=normalise).double()
        x = views(method).double() * torch.tensor([1.0, 5.0, 0.2]).reshape(3, *[1] * (dims + 1)) + 2
        image = torch.randn(x.shape, dtype=torch.float64)
        monkeypatch.setattr(method.decoder, "forward", lambda maps, visible, image=image: image)
        split = method._split(x, Chance([4, 5, 6]))
        grid = [edge // block for edge, block in zip(x.shape[2:], method.block, strict=True)]
        total, count = 0.0, 0
        for sample, blocks in enumerate(split.masked.tolist()):
            for block in blocks:
                place = np.unravel_index(block, grid)
                cut = tuple(slice(p * b, (p + 1) * b) for p, b in zip(place, method.block, strict=True))
                truth = [float(v) for c in range(2) for v in x[(sample, c, *cut)].flatten()]
                guess = [float(v) for c in range(2) for v in image[(sample, c, *cut)].flatten()]
                if normalise:
                    mean = sum(truth) / len(truth)
                    variance = sum((v - mean) ** 2 for v in truth) / (len(truth) - 1)
                    truth = [(v - mean) / (variance + 1e-6) ** 0.5 for v in truth]
                total += sum((a - b) ** 2 for a, b in zip(guess, truth, strict=True)) / len(truth)
                count += 1
        assert method([x], Chance([4, 5, 6]))["loss"].item() == pytest.approx(total / count, rel=1e-9)


def test_predicting_nothing_costs_the_variance_of_a_normalised_block():
    method = spark(size=64, channels=1)
    nn.init.zeros_(method.decoder.pred.weight)
    loss = method([100 * torch.randn(4, 1, 64, 64) + 30], Chance([1, 2, 3, 4]))["loss"]
    assert loss.item() == pytest.approx(255 / 256, rel=1e-4)  # the variance is unbiased, over 16 x 16 pixels


@pytest.mark.parametrize(("ratio", "hidden"), [(0.6, 15), (0.75, 18), (0.5, 12), (0.9, 22)])
def test_the_share_of_hidden_blocks_is_exact(ratio, hidden):
    method = spark(mask_ratio=ratio)
    x = views(method, 6)
    split = method._split(x, Chance(list(range(6))))
    assert split.masked.shape == (6, hidden)  # of 4 x 6 blocks, all but the whole part of 24 (1 - ratio)
    seen = method._visible(x, split).at(x.shape[2:])
    assert (seen.flatten(1).sum(1) == (24 - hidden) * 16 * 16).all()
    assert len({tuple(sorted(row)) for row in split.masked.tolist()}) > 3


@pytest.mark.parametrize(
    ("dims", "size", "block"),
    [
        (2, 224, 32),  # as in the paper
        (2, 64, 16),
        (2, (64, 256), 32),
        (2, 16, 4),
        (3, 96, 16),  # as nnssl has it
        (3, 48, 16),
        (3, 32, 8),
    ],
)
def test_blocks_are_as_large_as_a_stride_that_leaves_enough_of_them(dims, size, block):
    with torch.device("meta"):
        method = methods.build("spark", backbones.build("resnet18", in_channels=1, spatial_dims=dims, image_size=size))
    assert method.block == (block,) * dims
    assert method.settings.mask_ratio == 0.6


@pytest.mark.parametrize(("name", "width"), [("resnet18", 192), ("resnet50", 768)])
def test_the_decoder_is_three_eighths_as_wide_as_the_encoder(name, width):
    with torch.device("meta"):
        method = methods.build("spark", backbones.build(name, in_channels=3, image_size=224))
    assert method.decoder.blocks[0].up.in_channels == width
    assert method.decoder.pred.weight.shape[:2] == (3, width // 32)
    assert [d.projection.kernel_size[0] for d in method.decoder.densify] == [3, 3, 3, 1]


def test_every_scale_with_its_token_reaches_the_prediction():
    method = spark()
    x = views(method)
    method([x], Chance([1, 2, 3]))["loss"].backward()
    for scale in method.decoder.densify:
        assert scale.mask_token.grad.abs().sum() > 0
        assert scale.projection.weight.grad.abs().sum() > 0
    assert all(norm.weight.grad.abs().sum() > 0 for norm in method.norms)


def test_tokens_stand_at_hidden_places_alone():
    scale = spark().decoder.densify[0]
    x = torch.randn(2, 8, 4, 6)
    seen = torch.rand(2, 1, 4, 6) > 0.5
    filled = x.clone()
    for b, i, j in (~seen[:, 0]).nonzero().tolist():
        filled[b, :, i, j] = scale.mask_token.detach()[0, :, 0, 0]
    torch.testing.assert_close(scale(x, seen), scale.projection(filled))


def slow_decoder(state, maps, visible, dims):
    """SparK's decoder from the paper: from the coarsest map, with the map of each resolution added, to pixels."""
    convolve, up = (F.conv2d, F.conv_transpose2d) if dims == 2 else (F.conv3d, F.conv_transpose3d)

    def norm(x, name):
        axes = [0, *range(2, x.ndim)]
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
        weight, bias = (state[f"{name}.{kind}"].view(1, -1, *[1] * dims) for kind in ("weight", "bias"))
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def dense(at):
        kernel = state[f"densify.{at}.projection.weight"]
        seen = visible.at(maps[at].shape[2:]).double()
        filled = maps[at] * seen + state[f"densify.{at}.mask_token"] * (1 - seen)
        return convolve(filled, kernel, state[f"densify.{at}.projection.bias"], padding=kernel.shape[-1] // 2)

    x = dense(3)  # the coarsest, of stride 32
    for at in range(5):
        block = f"blocks.{at}"
        x = up(x, state[f"{block}.up.weight"], state[f"{block}.up.bias"], stride=2, padding=1)
        x = norm(convolve(x, state[f"{block}.conv.0.weight"], padding=1), f"{block}.conv.1").clamp(0, 6)
        x = norm(convolve(x, state[f"{block}.conv.3.weight"], padding=1), f"{block}.conv.4")
        if at < 3:  # strides 16, 8 and 4
            finer = dense(2 - at)
            x = x[(..., *(slice(edge) for edge in finer.shape[2:]))] + finer
    return convolve(x, state["pred.weight"], state["pred.bias"])


@pytest.mark.parametrize("dims", [2, 3])
def test_the_decoder_agrees_with_a_slow_version(dims):
    method = spark(dims=dims, size=(48, 96) if dims == 2 else (16, 48, 32), block=16 if dims == 2 else 8).double()
    for parameter in method.decoder.parameters():  # norms so wide that the cut at 6 counts
        nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 4)
    x = views(method, 2).double()
    visible = method._visible(x, method._split(x, Chance([1, 2])))
    with torch.no_grad():
        maps = method._encode(x, visible)
        expected = slow_decoder(method.decoder.state_dict(), maps, visible, dims)
        found = method.decoder(maps, visible)
    assert found.shape == x.shape
    assert found.std() > 0.01
    places = (..., *(slice(edge) for edge in x.shape[2:]))
    torch.testing.assert_close(found, expected[places], atol=1e-9, rtol=1e-9)


def test_an_image_need_be_no_multiple_of_the_total_stride():
    method = spark(size=(48, 80), block=16)  # maps of 12 x 20, 6 x 10, 3 x 5 and 2 x 3
    x = views(method)
    loss = method([x], Chance([1, 2, 3]))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert method.decoder.blocks[0].up.weight.grad.abs().sum() > 0


def test_reconstruction_is_in_pixels_and_keeps_what_was_visible():
    method = spark().train()
    x = 50 * torch.rand(2, 2, 64, 96) + 1000
    masked, whole = method.reconstruct(x, Chance([1, 2]))
    assert method.training
    hidden = pixels_of(method, method._split(x, Chance([1, 2])), x.shape[2:]).expand_as(x)
    assert torch.equal(whole[~hidden], x[~hidden])
    assert torch.equal(masked[~hidden], x[~hidden])
    assert not torch.equal(whole[hidden], x[hidden])
    assert (whole[hidden] - x[hidden]).abs().max() < 300
    for sample in range(2):
        assert masked[sample][hidden[sample]].unique().numel() == 1
    state = method.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    method.reconstruct(x, Chance([1, 2]))
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())


def test_bf16_autocast_stays_near_float32():
    method = spark()
    x = views(method)
    exact = method([x], Chance([1, 2, 3]))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = method([x], Chance([1, 2, 3]))["loss"]
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


def test_it_learns_the_structure_of_the_phantom():
    images = torch.from_numpy(draw_bscans("device-a", plan(0, "device-a", 4))).float()[:, None]
    x = nn.functional.interpolate(images, (64, 64), mode="area")
    x = (x - x.mean()) / x.std()
    torch.manual_seed(0)
    backbone = backbones.build("resnet18", in_channels=1, image_size=64, overrides={"stem_width": 8})
    method = methods.build("spark", backbone)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
    losses = []
    for step in range(20):
        loss = method([x], Chance([1000 * step + i for i in range(len(x))]))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])


def test_what_does_not_fit_is_refused_in_a_sentence():
    vit = backbones.build("vit_nano", in_channels=1, image_size=32, overrides={"patch_size": 8})
    with pytest.raises(SettingsError, match=r"SparK needs maps .*vit_nano.*Choose .*resnet18, or --method mae"):
        methods.build("spark", vit)
    resnet = backbones.build("resnet18", in_channels=1, image_size=64, overrides={"stem_width": 4})
    with pytest.raises(SettingsError, match=r"MAE needs .*resnet18.*Choose .*vit_small, or --method spark"):
        methods.build("mae", resnet)
    with pytest.raises(SettingsError, match=r"spark\.decoder_width.*multiple of 32.*40"):
        spark(decoder_width=40)
    with pytest.raises(SettingsError, match=r"64 x 96 with patches of 24 x 24.*spark\.block"):
        spark(block=24)
    with pytest.raises(SettingsError, match=r"cuts 20 x 30 into 16 blocks"):
        spark(size=(20, 30))
    with pytest.raises(SettingsError, match=r"mask_ratio 0\.99 leaves 0 of 24"):
        spark(mask_ratio=0.99)([torch.randn(2, 2, 64, 96)], Chance([1, 2]))
    with pytest.raises(SettingsError, match=r"64 x 70 with patches of 16 x 16.*spark\.block"):
        spark()([torch.randn(2, 2, 64, 70)], Chance([1, 2]))
