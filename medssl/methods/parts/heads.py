"""Heads that stand on a backbone while it is trained, and are thrown away after."""

from torch import nn


def projection_head(width: int, hidden: int, out: int) -> nn.Sequential:
    """Return the two-layer projection head of SimCLR: (B, width) -> (B, out).

    Linear, BatchNorm, ReLU, linear, BatchNorm: the paper's g(h) = W2 relu(W1 h) with the normalisation after each
    linear layer that the authors' code has, where the last one has a scale and no shift.

    Chen et al., "A simple framework for contrastive learning of visual representations", 2020
    (https://arxiv.org/abs/2002.05709).
    """
    last = nn.BatchNorm1d(out)
    last.register_parameter("bias", None)
    layers = [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, out, bias=False), last)


def prediction_head(width: int, hidden: int, out: int) -> nn.Sequential:
    """Return the two-layer head of BYOL, its projector and its predictor: (B, width) -> (B, out).

    Linear, BatchNorm, ReLU, linear, and nothing after (Grill et al. 2020, https://arxiv.org/abs/2006.07733,
    section 3.2).
    """
    layers = [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, out, bias=False))


def expander(width: int, hidden: int, out: int | None = None) -> nn.Sequential:
    """Return the three-layer head of VICReg and LeJEPA: (B, width) -> (B, out), or (B, hidden) without `out`.

    Linear, BatchNorm, ReLU twice, then linear (Bardes et al. 2022, https://arxiv.org/abs/2105.04906, section 4.2).
    """
    layers: list[nn.Module] = []
    for before in (width, hidden):
        layers += [nn.Linear(before, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, out or hidden, bias=False))
