import pytest
import torch

from medssl import backbones, methods
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.parts.token_masks import random_split, take
from medssl.methods.simclr import nt_xent

SMALL = {"width": 48, "depth": 2, "heads": 4, "patch_size": 8}


def hybrid(spatial_dims=2, image_size=32, **settings):
    torch.manual_seed(0)
    backbone = backbones.build(
        "vit_nano", in_channels=2, spatial_dims=spatial_dims, image_size=image_size, overrides=SMALL
    )
    return methods.build("mae_contrast", backbone, settings)


def views(count=5, dims=2):
    noise = torch.Generator().manual_seed(1)
    return [torch.randn(count, 2, *[32] * dims, generator=noise) for _ in range(2)]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_terms_are_those_of_mae_and_of_simclr(dims):
    """Put together by hand from the two views' masks."""
    method, pair, chance = hybrid(dims, contrast_weight=0.3).eval(), views(dims=dims), Chance([1, 2, 3, 4, 5])
    terms = method(pair, chance)
    losses, pooled = [], []
    for view, name in zip(pair, ("first", "second")):
        losses.append(method.mae([view], chance.spawn(name))["loss"])
        visible = random_split(chance.spawn(name), 4**dims, 0.5).visible
        seen = method.backbone.encode(take(method.backbone.embed(view), visible))
        pooled.append(seen[:, method.backbone.prefix_tokens :].mean(dim=1))
    first, second = method.projection_head(torch.cat(pooled)).chunk(2)
    contrast = nt_xent(first, second, 0.1)["loss"]
    torch.testing.assert_close(terms["reconstruction"], sum(losses) / 2)
    torch.testing.assert_close(terms["contrast"], contrast)
    torch.testing.assert_close(terms["loss"], sum(losses) / 2 + 0.3 * contrast)


def test_the_views_have_masks_of_their_own_and_the_encoder_sees_what_is_visible_alone():
    method, (view, _), chance = hybrid().eval(), views(), Chance([1, 2, 3, 4, 5])
    splits = [random_split(chance.spawn(name), 16, 0.5) for name in ("first", "second")]
    assert not torch.equal(splits[0].visible.sort().values, splits[1].visible.sort().values)
    assert splits[0].visible.shape == (5, 8)
    same = method([view, view], chance)
    assert same["alignment"] > 0  # equal views, unequal masks


def test_kin_is_not_contrasted():
    method, pair, chance = hybrid().eval(), views(), Chance([1, 2, 3, 4, 5])
    apart = method(pair, chance)["contrast"]
    together = method(pair, chance, torch.tensor([7, 7, 7, 8, 8]))["contrast"]
    assert together < apart


def test_without_weight_it_is_mae():
    method, pair, chance = hybrid(contrast_weight=0.0).eval(), views(), Chance([1, 2, 3, 4, 5])
    terms = method(pair, chance)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"])


def test_weights_are_kept_once():
    method = hybrid()
    kept = [value.data_ptr() for value in method.state_dict().values() if value.numel() > 1]
    assert len(kept) == len(set(kept))
    assert method.backbone is method.mae.backbone


def test_a_single_image_is_refused():
    with pytest.raises(SettingsError, match="this batch has 1"):
        hybrid()(views(count=1), Chance([1]))


def test_a_cnn_is_refused_with_what_to_take():
    with pytest.raises(SettingsError, match="--method spark, the masked pretraining of CNNs"):
        methods.build("mae_contrast", backbones.build("resnet18", in_channels=1, image_size=32))
