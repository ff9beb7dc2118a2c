"""Frozen features: what a backbone says of every image, with no augmentation and no gradient."""

import numpy as np
import torch
from torch import nn

from medssl.errors import DataError
from medssl.transfer.examples import Examples


class NotFiniteError(DataError):
    """A backbone's features are not finite numbers: its training has diverged."""


@torch.inference_mode()
def extract(
    backbone: nn.Module, examples: Examples, *, batch_size: int = 128, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Return the pooled features of every example, (N, D) float32.

    Args:
        backbone: Answers `forward(x) -> Features(pooled, grid)`; its mode is given back as it was.
        examples: The images.
        batch_size: Images at a time; it changes the speed only.
        device: Where the backbone runs.

    Raises:
        NotFiniteError: A feature is not a finite number; the first such sample is named.
    """
    training, device = backbone.training, torch.device(device)
    backbone.to(device).eval()
    pooled = [backbone(view).pooled.float().cpu().numpy() for view in examples.plain(batch_size, device)]
    backbone.train(training)
    features = np.concatenate(pooled) if pooled else np.zeros((0, getattr(backbone, "width", 0)), np.float32)
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise NotFiniteError(
            f"The backbone's features are not finite for {len(broken)} of {len(features)} images",
            where=f"sample {examples.store.index['sample_id'].iloc[examples.rows[broken[0]]]}",
            fix="The checkpoint has diverged: use another, or pretrain with a lower train.learning_rate",
        )
    return features
