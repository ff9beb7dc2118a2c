"""Attention maps against the definition, the segmentation against the authors' way of cutting, and spread."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medssl import backbones
from medssl.errors import SettingsError
from medssl.evaluation.attending import Looker, look, open_looker, spread, top_mass


def authors(attention, share):
    """Caron et al., visualize_attention.py: sort, accumulate from the least, keep what is beyond 1 - share."""
    value, order = torch.sort(torch.tensor(attention, dtype=torch.float64))
    value /= value.sum()
    kept = torch.cumsum(value, 0) > 1 - share
    result = torch.zeros(len(order), dtype=torch.bool)
    result[order] = kept
    return result.numpy()


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.integers(1, 30), elements=st.floats(0.01, 1), unique=True), st.sampled_from([0.3, 0.6, 0.95])
)
def test_what_is_kept_is_what_the_authors_keep(attention, share):
    np.testing.assert_array_equal(top_mass(attention / attention.sum(), share), authors(attention, share))


def test_fewest_patches_hold_the_share():
    attention = np.array([[0.4, 0.05], [0.35, 0.2]])
    np.testing.assert_array_equal(top_mass(attention, 0.6), [[True, False], [True, False]])
    assert top_mass(attention, 1.0).all()
    assert top_mass(attention, 0.4).sum() == 1


def test_spread_is_one_for_even_attention_and_one_patch_for_a_point():
    assert spread(np.full((4, 4), 1 / 16)) == pytest.approx(1)
    assert spread(np.eye(1, 16)[0]) == pytest.approx(1 / 16)


def vit(spatial_dims=2, **overrides):
    torch.manual_seed(0)
    size = {"spatial_dims": spatial_dims, "image_size": 16}
    chosen = {"width": 16, "depth": 2, "heads": 2, "patch_size": 4, **overrides}
    return backbones.build("vit_nano", in_channels=1, overrides=chosen, **size).eval()


def of_tokens(backbone, view):
    """The attention of the last block from its weights, by the formula."""
    with torch.inference_mode():
        tokens = backbone.embed(view)
        tokens = torch.cat([backbone.cls_token.expand(len(view), -1, -1), tokens], dim=1)
        tokens = backbone.blocks[0](tokens)
        last = backbone.blocks[1]
        query, key, _ = last.attn.qkv(last.norm1(tokens)).chunk(3, dim=-1)
        split = [part.unflatten(-1, (2, 8)).transpose(1, 2) for part in (query, key)]
        return torch.softmax(split[0] @ split[1].transpose(-1, -2) / np.sqrt(8), dim=-1).numpy()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_maps_are_rows_of_the_last_block_over_the_grid(spatial_dims):
    backbone, view = vit(spatial_dims), torch.randn(2, 1, *(16,) * spatial_dims)
    whole = of_tokens(backbone, view)
    rows = {"class": whole[:, :, 0, 1:], "patches": whole[:, :, 1:, 1:].mean(axis=2)}
    for query, wanted in rows.items():
        found = Looker(None, backbone, query, 16).attention(view)
        assert found.shape == (2, 2, *(4,) * spatial_dims)
        wanted = wanted / wanted.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=1e-6)


def test_the_token_that_makes_the_feature_is_asked(run):
    assert open_looker(run).query == "patches"
    assert open_looker(run, query="class").query == "class"
    with pytest.raises(SettingsError, match="multiple of the patch"):
        open_looker(run, size=20)
    with pytest.raises(SettingsError, match="--query"):
        open_looker(run, query="cls")


def test_images_whose_attention_fits_in_no_memory_are_refused(run):
    with pytest.raises(SettingsError, match=r"Images of 65536 a side have .* patches, whose attention needs .* GB"):
        open_looker(run, size=65536)


def test_images_of_a_manifest_are_looked_at_evenly_and_by_id(run, here):
    looker = open_looker(run, size=32)
    seen, remarks = look(looker, [here], most=3)
    assert len(seen) == 3
    assert "3 of 48" in remarks[0]
    assert seen[0].heads.shape == (2, 4, 4)
    assert seen[0].heads[1].sum() == pytest.approx(1)
    assert seen[0].image.shape == (1, 32, 32)
    assert all(one.name.startswith("f…") for one in seen)
    with pytest.raises(SettingsError, match="Of 1 sample ids 0 are there"):
        look(looker, [here], rows=["nobody"])
