"""How fast is a training step of MAE? medssl against transformers' ViTMAEForPreTraining of the same network.

    OMP_NUM_THREADS=1 python benchmarks/speed_mae.py
    OMP_NUM_THREADS=1 python benchmarks/speed_mae.py --defaults --backbones vit_small

224 x 224 grey, patch 16, mask ratio 0.75, the decoder medssl chooses; forward, backward and fused AdamW. The limit is
the best product of large matrices on this core. Work is counted on medssl's network: what a rival computes beyond
(pixels of visible patches, 0.7 %) is no merit. bf16 (autocast) runs where the processor has instructions for it.

With --defaults each side trains the same encoder as it would for chest X-rays unless told otherwise: medssl with its
own decoder and the mask ratio that the modality recommends (0.80), transformers with ViTMAEConfig's (8 blocks of 512,
0.75).
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from racing import processor_flags, race, rates, ratio, show, show_machine, spread
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from medssl import backbones
from medssl.chance import Chance
from medssl.methods import mae
from medssl.modalities import cxr
from medssl.training.optim import adamw, parameter_groups

SIDE, PATCH, MASK_RATIO = 224, 16, 0.75
TOKENS = (SIDE // PATCH) ** 2
PRODUCTS = [(2048, 1024, 2048), (4096, 512, 2048), (1600, 384, 1536)]  # rows, inner, columns
BF16 = {"avx512_bf16", "amx_bf16"}

Step = Callable[[], None]


def main(names: list[str], batch: int, rounds: int, *, defaults: bool) -> None:
    """Race every network in every precision that there is."""
    show_machine("transformers")
    for name in names:
        if defaults:
            compare_defaults(name, batch, rounds)
            continue
        compare(name, batch, rounds, torch.float32)
        if processor_flags() & BF16:
            compare(name, batch, rounds, torch.bfloat16)
        else:
            print("bf16: not measured here: no bf16 on this CPU")


def compare(name: str, batch: int, rounds: int, dtype: torch.dtype) -> None:
    """Race both networks and the products of matrices, and print."""
    torch.manual_seed(0)
    images = torch.randn(batch, 1, SIDE, SIDE)
    ours = ours_of(name)
    losses = {"medssl": loss_of_ours(ours, images), "transformers": loss_of_theirs(theirs_like(ours), images)}
    flops = {one: count_flops(loss) for one, (_, loss) in losses.items()}
    steps = {one: step(module, loss, dtype) for one, (module, loss) in losses.items()}
    products = {f"product {shape}": product(shape, dtype) for shape in PRODUCTS}
    seconds = race(steps | products, rounds)
    speed = rates({one: seconds[one] for one in steps}, dict.fromkeys(steps, batch))
    work = {f"product {shape}": 10 * 2e-9 * shape[0] * shape[1] * shape[2] for shape in PRODUCTS}
    limits = rates({one: seconds[one] for one in products}, work)
    peak = max(limits.values(), key=statistics.median)
    kind = "fp32" if dtype == torch.float32 else "bf16"
    counted = ", ".join(f"{one} {value / batch / 1e9:.2f}" for one, value in flops.items())
    show(f"{name}, {kind}, batch {batch}; GFLOP an image: {counted}", speed, "images/s")
    show("limit", limits, "GFLOP/s")
    print(f"medssl / transformers: {ratio(speed['medssl'], speed['transformers'])}")
    for one, values in speed.items():
        shares = [value * flops["medssl"] / batch / 1e9 / top for value, top in zip(values, peak, strict=True)]
        print(f"{one}, share of the peak: {spread(shares)}")


def compare_defaults(name: str, batch: int, rounds: int) -> None:
    """Race the same encoder as each side trains it unless told otherwise, in every precision, and print."""
    images = torch.randn(batch, 1, SIDE, SIDE)
    mask_ratio = float(cxr.MODALITY.recommends["mae.mask_ratio"].value)
    losses = {}
    for dtype in [torch.float32, *([torch.bfloat16] if processor_flags() & BF16 else [])]:
        torch.manual_seed(0)
        ours, kind = ours_of(name, mask_ratio), "fp32" if dtype == torch.float32 else "bf16"
        losses[f"medssl {kind}"] = (*loss_of_ours(ours, images), dtype)
        losses[f"transformers {kind}"] = (*loss_of_theirs(theirs_like(ours, defaults=True), images), dtype)
    steps = {one: step(module, loss, dtype) for one, (module, loss, dtype) in losses.items()}
    speed = rates(race(steps, rounds), dict.fromkeys(steps, batch))
    counted = ", ".join(f"{one} {count_flops(loss) / batch / 1e9:.2f}" for one, (_, loss, _) in losses.items())
    show(f"{name}, defaults of each, batch {batch}; GFLOP an image: {counted}", speed, "images/s")
    for mine in [one for one in speed if one.startswith("medssl")]:
        for other in [one for one in speed if one.startswith("transformers")]:
            print(f"{mine} / {other}: {ratio(speed[mine], speed[other])}")


def ours_of(name: str, mask_ratio: float = MASK_RATIO) -> mae.Method:
    """Return medssl's MAE around a fresh backbone."""
    backbone = backbones.build(name, in_channels=1, spatial_dims=2, image_size=SIDE)
    return mae.Method(backbone, mae.Settings(mask_ratio=mask_ratio))


def theirs_like(ours: mae.Method, *, defaults: bool = False) -> ViTMAEForPreTraining:
    """Return transformers' MAE of the same widths, depths and heads; with `defaults` of the encoder alone."""
    encoder, decoder = ours.backbone, ours.decoder
    width = decoder.pred.in_features
    same = {
        "decoder_hidden_size": width,
        "decoder_num_hidden_layers": len(decoder.blocks),
        "decoder_num_attention_heads": decoder.blocks[0].attn.heads,
        "decoder_intermediate_size": 4 * width,
    }
    config = ViTMAEConfig(
        hidden_size=encoder.width,
        num_hidden_layers=encoder.depth,
        num_attention_heads=encoder.settings.heads,
        intermediate_size=4 * encoder.width,
        image_size=SIDE,
        patch_size=PATCH,
        num_channels=1,
        mask_ratio=MASK_RATIO,
        norm_pix_loss=True,
        layer_norm_eps=1e-6,
        **({} if defaults else same),
    )
    return ViTMAEForPreTraining(config).train()


def loss_of_ours(method: mae.Method, images: torch.Tensor) -> tuple[nn.Module, Callable[[], torch.Tensor]]:
    """Return the module, and its loss as a call; masks are drawn in it."""
    return method, lambda: method([images], Chance(list(range(len(images)))))["loss"]


def loss_of_theirs(model: ViTMAEForPreTraining, images: torch.Tensor) -> tuple[nn.Module, Callable[[], torch.Tensor]]:
    """Return the module, and its loss as a call; masks are drawn in it."""
    return model, lambda: model(pixel_values=images, noise=torch.rand(len(images), TOKENS)).loss


def step(module: nn.Module, loss: Callable[[], torch.Tensor], dtype: torch.dtype) -> Step:
    """Return a training step as a call."""
    optimizer = adamw(parameter_groups(module, weight_decay=0.05))

    def take() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    return take


def product(shape: tuple[int, int, int], dtype: torch.dtype) -> Step:
    """Return ten products of matrices as a call."""
    rows, inner, columns = shape
    left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    return lambda: [F.linear(left, right) for _ in range(10)] and None


def count_flops(loss: Callable[[], torch.Tensor]) -> int:
    """Return the operations of forward and backward; with plain attention, since the CPU's fused one is not counted."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss().backward()
    return counter.get_total_flops()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["vit_small", "vit_tiny"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--defaults", action="store_true")
    chosen = parser.parse_args()
    main(chosen.backbones, chosen.batch, chosen.rounds, defaults=chosen.defaults)
