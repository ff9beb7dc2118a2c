import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medssl.backbones.parts.patches import grid_of, patchify, per_axis, unpatchify
from medssl.errors import SettingsError

axes = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=2, max_size=3)


@given(axes, st.integers(1, 3))
def test_unpatchify_undoes_patchify(axes, channels):
    grid, patch = zip(*axes)
    images = torch.randn(2, channels, *(g * p for g, p in axes))
    patches = patchify(images, patch)
    assert patches.shape[2] == channels * torch.tensor(patch).prod()
    assert torch.equal(unpatchify(patches, grid, patch), images)


def test_patches_run_in_c_order_and_channels_fastest():
    images = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    patches = patchify(images, (2, 3))
    assert patches.shape == (1, 4, 12)
    second = images[0, :, 0:2, 3:6]  # row 0, column 1 of the grid
    assert patches[0, 1].tolist() == second.permute(1, 2, 0).flatten().tolist()


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match=r"multiple of the patch size.*64 x 60.*16 x 16"):
        grid_of((64, 60), (16, 16))
    with pytest.raises(SettingsError, match="multiple"):
        grid_of((8, 0), (8, 8))
    with pytest.raises(SettingsError, match=r"patch_size as one or 3.*\(8, 8\)"):
        per_axis((8, 8), 3, "patch_size")
    assert per_axis(8, 3, "patch_size") == (8, 8, 8)
