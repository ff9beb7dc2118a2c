"""The page on backbones says what is there."""

import re
from pathlib import Path

import pytest
import torch

from medssl import backbones, discovery

PAGE = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| (\d+) \| ([\d.]+) / ([\d.]+) \| ([-\d ]+) \|", PAGE, re.MULTILINE)


def test_every_backbone_stands_there():
    assert sorted(row[0] for row in ROWS) == sorted(backbones.names())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_its_numbers_are_true(row):
    name, width, *millions, maps = row
    listed = discovery.load("backbones", backbones.names()[name]).MILLIONS[name]
    assert listed == tuple(map(float, millions))
    for dims, told in zip((2, 3), millions, strict=True):
        sizes = {2: {"in_channels": 3, "image_size": 224}, 3: {"in_channels": 1, "image_size": 96}}[dims]
        with torch.device("cpu" if name.startswith("swin") else "meta"):  # MONAI's Swin computes while it is built
            model = backbones.build(name, spatial_dims=dims, **sizes)
        assert f"{sum(p.numel() for p in model.parameters()) / 1e6:#.3g}".rstrip(".") == told
        assert str(model.width) == width
    assert " ".join(map(str, getattr(model, "stage_strides", "-"))) == maps
