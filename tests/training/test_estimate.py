"""What a step costs: operations against closed forms."""

import pytest
import torch

from medssl.backbones.parts.transformer import Block
from medssl.training.estimate import flop_counter
from medssl.training.presets import Machine, _epochs

BATCH, TOKENS, WIDTH = 2, 33, 48


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fused", "written out"])
def test_a_block_of_a_vit_in_numbers(precision):
    """24 N D^2 in the linear layers and 4 N^2 D in attention, and twice that backward."""
    block, x = Block(WIDTH, heads=3), torch.randn(BATCH, TOKENS, WIDTH)
    with flop_counter() as counter, torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        block(x).sum().backward()
    forward = BATCH * (24 * TOKENS * WIDTH**2 + 4 * TOKENS**2 * WIDTH)
    assert counter.get_total_flops() == 3 * forward


@pytest.mark.parametrize(("flops", "before"), [(129.65e6, 6e12 / 129.65e6), (136.75e6, 6e12 / 136.75e6)])
def test_epochs_of_a_small_mae_on_a_cpu_stay(flops, before):
    """What was counted of a ViT-nano at 64 x 64 in float32 (without attention) and bfloat16, and the same now."""
    assert _epochs(Machine("cpu", 1e9), 1, 136.75e6).value == pytest.approx(before, rel=0.03)
