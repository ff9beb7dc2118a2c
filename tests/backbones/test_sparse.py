"""Layers that see visible places only, against slow loops over those places."""

import itertools

import pytest
import torch
from torch import nn

from medssl.backbones.parts.sparse import Visible, sparse
from medssl.errors import SettingsError


def blocks(batch, *grid, seed=0):
    noise = torch.rand(batch, *grid, generator=torch.Generator().manual_seed(seed))
    return noise > noise.flatten(1).median(dim=1).values.view(-1, *[1] * len(grid))


def places(mask):
    """Return sample and place of all visible places of a mask (B, 1, *size)."""
    return [(index[0], index[2:]) for index in mask.nonzero().tolist()]


def submanifold(x, mask, layer):
    """Convolve as a sparse convolution does: only visible places have values, and only they are asked for."""
    values = {(sample, tuple(place)): x[(sample, slice(None), *place)] for sample, place in places(mask)}
    stride, pad = layer.stride[0], layer.padding[0]
    size = [(edge + 2 * pad - layer.kernel_size[0]) // stride + 1 for edge in x.shape[2:]]
    found = {}
    for sample in range(len(x)):
        for place in itertools.product(*map(range, size)):
            total = torch.zeros(layer.out_channels, dtype=x.dtype)
            for offset in itertools.product(range(layer.kernel_size[0]), repeat=len(size)):
                source = tuple(p * stride - pad + o for p, o in zip(place, offset, strict=True))
                if (sample, source) in values:
                    total += layer.weight[(slice(None), slice(None), *offset)] @ values[sample, source]
            found[sample, place] = total if layer.bias is None else total + layer.bias
    return found


@pytest.mark.parametrize(("dims", "stride"), [(2, 1), (2, 2), (3, 1), (3, 2)])
def test_convolutions_are_submanifold_ones(dims, stride):
    torch.manual_seed(0)
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    first, second = conv(2, 3, 3, stride, 1).double(), conv(3, 2, 3, 1, 1).double()
    x = torch.randn(2, 2, *[8] * dims, dtype=torch.float64)
    seen = Visible(blocks(2, *[2] * dims), x.shape[2:])
    layers = nn.Sequential(first, nn.ReLU(), second)
    with sparse(seen, layers):
        ours = layers(x * seen.at(x.shape[2:]))
    middle = torch.zeros(2, 3, *[8 // stride] * dims, dtype=torch.float64)
    mask = seen.at(middle.shape[2:])
    for (sample, place), value in submanifold(x, seen.at(x.shape[2:]), first).items():
        middle[(sample, slice(None), *place)] = value.relu()  # hidden places get values that nobody may read
    for (sample, place), value in submanifold(middle, mask, second).items():
        expected = value if mask[(sample, 0, *place)] else torch.zeros_like(value)
        torch.testing.assert_close(ours[(sample, slice(None), *place)], expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
def test_batch_norm_counts_visible_places_alone(dims):
    torch.manual_seed(0)
    norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims](3).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter, 1, 0.5)
    x = 3 * torch.randn(2, 3, *[4] * dims, dtype=torch.float64) + 5
    seen = Visible(blocks(2, *[2] * dims), [4] * dims)
    with sparse(seen, norm), torch.no_grad():
        ours = norm(x)
    norm.requires_grad_(False)
    mask = seen.at([4] * dims)
    for channel in range(3):
        values = [float(x[(sample, channel, *place)]) for sample, place in places(mask)]
        mean = sum(values) / len(values)
        squares = sum((v - mean) ** 2 for v in values)
        for (sample, place), value in zip(places(mask), values, strict=True):
            wanted = (value - mean) / (squares / len(values) + norm.eps) ** 0.5
            wanted = wanted * float(norm.weight[channel]) + float(norm.bias[channel])
            assert float(ours[(sample, channel, *place)]) == pytest.approx(wanted, abs=1e-12)
        assert float(norm.running_mean[channel]) == pytest.approx(0.1 * mean, rel=1e-12)
        assert float(norm.running_var[channel]) == pytest.approx(0.9 + 0.1 * squares / (len(values) - 1), rel=1e-12)
    assert not ours[~mask.expand_as(ours)].any()
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.InstanceNorm2d(4)])
def test_norms_of_one_image_count_its_visible_places_alone(norm):
    torch.manual_seed(0)
    norm = norm.double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter, 1, 0.5)
    x = 3 * torch.randn(2, 4, 4, 6, dtype=torch.float64) + 5
    grid = blocks(2, 2, 3)
    grid[1] = False
    grid[1, 0, 1] = True  # another number of places than in the first image
    seen = Visible(grid, (4, 6))
    with sparse(seen, norm), torch.no_grad():
        ours = norm(x)
    norm.requires_grad_(False)
    mask = seen.at((4, 6))
    groups = getattr(norm, "num_groups", 4)
    for sample, channel in itertools.product(range(2), range(4)):
        first = channel // (4 // groups) * (4 // groups)
        mates = range(first, first + 4 // groups)
        own = [place for s, place in places(mask) if s == sample]
        values = [float(x[(sample, c, *place)]) for c in mates for place in own]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        for place in own:
            wanted = (float(x[(sample, channel, *place)]) - mean) / (variance + norm.eps) ** 0.5
            if norm.weight is not None:
                wanted = wanted * float(norm.weight[channel]) + float(norm.bias[channel])
            assert float(ours[(sample, channel, *place)]) == pytest.approx(wanted, abs=1e-12)
    assert not ours[~mask.expand_as(ours)].any()


class ChannelsFirst(nn.LayerNorm):
    """A layer norm over channels that stand before the places, as ConvNeXt has it."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize("size", [(4, 6), (3, 3)])  # as many places along an axis as channels, too
def test_layers_over_channels_leave_hidden_places_empty(size):
    torch.manual_seed(0)
    seen = Visible(blocks(2, *[edge // 3 + 1 if edge > 3 else 3 for edge in size]), size)
    mask = seen.at(size)
    x = torch.randn(2, 3, *size)
    first, last, linear = ChannelsFirst(3), nn.LayerNorm(3), nn.Linear(3, 5)
    for layer in (first, last):
        nn.init.ones_(layer.bias)
    plain = first(x), last(x.movedim(1, -1)), linear(x.movedim(1, -1))
    with sparse(seen, first, last, linear):
        ours = first(x), last(x.movedim(1, -1)), linear(x.movedim(1, -1))
    for mine, theirs, shown in zip(ours, plain, (mask, mask.movedim(1, -1), mask.movedim(1, -1)), strict=True):
        torch.testing.assert_close(mine, theirs * shown)


def test_pools_read_nothing_hidden():
    seen = Visible(torch.tensor([[[True, False], [False, True]]]), (8, 8))
    pool = nn.MaxPool2d(3, 2, 1)
    x = torch.rand(1, 1, 8, 8)
    with sparse(seen, pool):
        ours = pool(x * seen.at((8, 8)))
    for i, j in itertools.product(range(4), repeat=2):
        near = [
            float(x[0, 0, a, b])
            for a, b in itertools.product(range(2 * i - 1, 2 * i + 2), range(2 * j - 1, 2 * j + 2))
            if 0 <= a < 8 and 0 <= b < 8 and (a < 4) == (b < 4)
        ]
        assert float(ours[0, 0, i, j]) == (max(near) if (i < 2) == (j < 2) else 0)


def test_a_place_of_a_coarse_map_is_visible_where_any_of_its_pixels_is():
    grid = torch.zeros(1, 4, 3, dtype=torch.bool)
    grid[0, 1, 2] = True
    seen = Visible(grid, (16, 12))
    assert seen.at((16, 12))[0, 0].nonzero().tolist() == [[i, j] for i in range(4, 8) for j in range(8, 12)]
    assert seen.at((4, 3))[0, 0].nonzero().tolist() == [[1, 2]]
    assert seen.at((2, 2))[0, 0].nonzero().tolist() == [[0, 1]]  # blocks (0 to 1, 2) of 3: the last one is a rest
    assert seen.at((1, 1)).all()
    assert seen.rows((2, 2)).tolist() == [1]


def test_layers_are_themselves_again_afterwards():
    layers = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))
    layers.eval()
    x = torch.randn(1, 1, 4, 4)
    seen = Visible(torch.tensor([[[True, False], [False, True]]]), (4, 4))
    before = layers(x)
    with sparse(seen, layers):
        assert not torch.equal(layers(x), before)
    assert torch.equal(layers(x), before)
    with pytest.raises(RuntimeError), sparse(seen, layers):
        layers(torch.randn(1, 7, 4, 4))
    assert torch.equal(layers(x), before)
    assert not any("forward" in vars(layer) for layer in layers)


@pytest.mark.parametrize(
    ("layer", "size", "word"),
    [
        (nn.AdaptiveAvgPool2d(1), (8, 8), "AdaptiveAvgPool2d mixes"),
        (nn.Upsample(scale_factor=2), (8, 8), "Upsample mixes"),
        (nn.Conv2d(3, 3, 3), (8, 8), "6 places of 8 pixels"),
        (nn.InstanceNorm2d(3, track_running_stats=True), (8, 8), "running statistics"),
    ],
)
def test_layers_that_cannot_leave_places_out_are_refused(layer, size, word):
    seen = Visible(torch.ones(1, 2, 2, dtype=torch.bool), size)
    with pytest.raises(SettingsError, match=word), sparse(seen, layer):
        layer(torch.randn(1, 3, *size))
