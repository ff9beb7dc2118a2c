import math

import pytest
import torch

from medssl.backbones.parts import attention as module
from medssl.backbones.parts.attention import attention, is_fused, plain


@pytest.mark.parametrize(
    ("device", "dtype", "tokens", "fused"),
    [
        ("cpu", torch.float32, 50, True),
        ("cpu", torch.bfloat16, 50, False),
        ("cpu", torch.float16, 197, False),
        ("cpu", torch.bfloat16, 4096, True),
        ("cuda", torch.bfloat16, 50, True),
        ("cuda", torch.float32, 50, True),
    ],
)
def test_choice_follows_device_precision_and_length(device, dtype, tokens, fused):
    assert is_fused(device, dtype, tokens) is fused


def test_both_forms_are_the_formula():
    q, k, v = (torch.randn(2, 3, n, 8, dtype=torch.float64) for n in (5, 7, 7))
    expected = torch.zeros(2, 3, 5, 8, dtype=torch.float64)
    for b in range(2):
        for h in range(3):
            for i in range(5):
                weights = torch.tensor([math.exp(float(q[b, h, i] @ k[b, h, j]) / math.sqrt(8)) for j in range(7)])
                expected[b, h, i] = (weights / weights.sum()).to(v) @ v[b, h]
    torch.testing.assert_close(plain(q, k, v), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(attention(q, k, v), expected, atol=1e-6, rtol=0)


def test_bf16_on_a_cpu_takes_the_plain_form(monkeypatch):
    taken = []
    monkeypatch.setattr(module, "plain", lambda q, k, v: taken.append(q.dtype) or plain(q, k, v))
    q, k, v = (torch.randn(1, 2, 5, 8) for _ in range(3))
    half = attention(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert taken == [torch.bfloat16]
    torch.testing.assert_close(half.float(), attention(q, k, v), atol=0.03, rtol=0)
    assert len(taken) == 1
