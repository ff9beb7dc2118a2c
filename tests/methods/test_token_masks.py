import pytest
import torch

from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.parts.token_masks import random_split, take


def test_every_token_is_either_visible_or_masked():
    visible, masked = random_split(Chance([1, 2, 3]), 16, 0.75)
    assert visible.shape == (3, 4)
    assert masked.shape == (3, 12)
    assert torch.equal(torch.cat([visible, masked], dim=1).sort(dim=1).values, torch.arange(16).expand(3, -1))


def test_masks_belong_to_the_sample_and_differ_between_samples():
    together = random_split(Chance([1, 2, 3]), 64, 0.75).visible
    alone = random_split(Chance([2]), 64, 0.75).visible
    assert torch.equal(together[1:2], alone)
    assert len({tuple(row.tolist()) for row in together}) == 3
    chance = Chance([2])
    assert not torch.equal(random_split(chance, 64, 0.75).visible, random_split(chance, 64, 0.75).visible)


def test_all_places_are_masked_equally_often():
    masked = random_split(Chance(list(range(4000))), 9, 2 / 3).masked
    share = torch.bincount(masked.flatten(), minlength=9) / 4000
    assert torch.allclose(share, torch.full((9,), 2 / 3), atol=0.03)


@pytest.mark.parametrize(("tokens", "ratio"), [(4, 0.9), (1, 0.5), (4, 1e-18)])
def test_a_mask_that_hides_all_or_nothing_is_refused(tokens, ratio):
    with pytest.raises(SettingsError, match=rf"mask_ratio {ratio}.* of {tokens} patches"):
        random_split(Chance([1]), tokens, ratio)


def test_take_picks_each_samples_own_tokens():
    tokens = torch.arange(2 * 3 * 2).reshape(2, 3, 2)
    picked = take(tokens, torch.tensor([[2, 0], [1, 1]]))
    assert picked.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
