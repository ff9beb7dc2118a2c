"""Scaled dot-product attention, fused or plain: the one place that chooses.

Measured on a CPU with AVX-512 bf16 (torch 2.13, one core): forward and backward of 32 x 6 heads x 50 tokens x 64 in
bf16 take 29.6 ms in torch's fused kernel and 6.8 ms as two matrix products and a softmax, at 197 tokens 87 against
41 ms. In float32 the fused kernel wins at 197 tokens (71 against 89 ms) and is level at 50. Accelerators have good
fused kernels in every precision.
"""

import math

import torch
import torch.nn.functional as F

_MOST_PLAIN_TOKENS = 1024  # beyond it the (tokens x tokens) matrix costs more memory than the plain form saves time


def is_fused(device: str, dtype: torch.dtype, tokens: int) -> bool:
    """Return whether attention on this kind of device, precision and sequence length uses torch's fused kernel."""
    half_on_cpu = device == "cpu" and dtype in (torch.bfloat16, torch.float16)
    return not half_on_cpu or tokens > _MOST_PLAIN_TOKENS


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return softmax(Q K^T / sqrt(d)) V.

    Vaswani et al., "Attention is all you need", 2017, equation 1 (https://arxiv.org/abs/1706.03762).

    Args:
        query: (B, heads, N, d).
        key: (B, heads, M, d).
        value: (B, heads, M, d).

    Returns:
        (B, heads, N, d)
    """
    if is_fused(query.device.type, query.dtype, key.shape[-2]):
        return F.scaled_dot_product_attention(query, key, value)
    return plain(query, key, value)


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return the same as `attention`, as two matrix products and a softmax."""
    return weights(query, key) @ value


def weights(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Return softmax(Q K^T / sqrt(d)), rows that sum to 1: (B, heads, N, d), (B, heads, M, d) -> (B, heads, N, M)."""
    scores = (query * (1.0 / math.sqrt(query.shape[-1]))) @ key.transpose(-2, -1)
    return scores.softmax(dim=-1)
