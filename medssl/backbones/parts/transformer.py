"""The pre-norm transformer block of ViT, with timm's parameter names, for encoders and decoders alike.

Dosovitskiy et al., "An image is worth 16x16 words", 2021 (https://arxiv.org/abs/2010.11929).
"""

import torch
from torch import nn

from medssl.backbones.parts.attention import attention, weights


class Attention(nn.Module):
    """Multi-head self-attention with one matrix for queries, keys and values: (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self._split(x)
        mixed = attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(x.shape))

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return what each token attends to, rows that sum to 1: (B, N, D) -> (B, heads, N, N)."""
        query, key, _ = self._split(x)
        return weights(query, key)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """Return queries, keys and values, (3, B, heads, N, d)."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        return qkv.permute(2, 0, 3, 1, 4)


class Mlp(nn.Module):
    """Two linear layers with a GELU between: (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


class DropPath(nn.Module):
    """Leave a residual branch out for whole samples, with probability `rate` while training.

    Huang et al., "Deep networks with stochastic depth", 2016 (https://arxiv.org/abs/1603.09382).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.rand(len(x), *(1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep / (1.0 - self.rate)


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch: (B, N, D) -> (B, N, D).

    Touvron et al., "Going deeper with image transformers", 2021 (https://arxiv.org/abs/2103.17239).
    """

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): (B, N, D) -> (B, N, D)."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.ls1 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.ls2 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))

    def attention_maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return what each token attends to in this block, rows that sum to 1: (B, N, D) -> (B, heads, N, N)."""
        return self.attn.maps(self.norm1(x))


def initialise(module: nn.Module) -> None:
    """Set linear layers to Xavier-uniform weights and zero biases, as the code of MAE does; use with `apply`."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
