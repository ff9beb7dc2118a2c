import numpy as np
import pytest
import torch

from medssl import backbones
from medssl.backbones.parts.features import Features
from medssl.errors import DataError
from medssl.transfer.features import extract


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    overrides = {"width": 16, "depth": 1, "heads": 2, "patch_size": 8}
    return backbones.build("vit_nano", in_channels=1, image_size=16, overrides=overrides)


def test_features_are_those_of_plain_views_whatever_the_batch(examples):
    backbone = small().train()
    features = extract(backbone, examples, batch_size=5)
    views = torch.cat(list(examples.plain(100, torch.device("cpu"))))
    np.testing.assert_allclose(features, backbone.eval()(views).pooled.detach().numpy(), atol=1e-5)
    assert features.shape == (24, 16)


def test_the_mode_of_the_backbone_is_given_back(examples):
    backbone = small().train()
    extract(backbone, examples)
    assert backbone.training


def test_rows_choose_and_order(examples):
    backbone = small()
    order = np.array([7, 2])
    np.testing.assert_allclose(extract(backbone, examples.take(order)), extract(backbone, examples)[order], atol=1e-5)


def test_a_diverged_backbone_names_the_first_sample(examples):
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Features:
            pooled = x.flatten(1)[:, :3].clone()
            pooled[3] = torch.nan
            return Features(pooled, x)

    with pytest.raises(DataError, match=r"1 of 24 images \(sample s3\)"):
        extract(Broken(), examples)
