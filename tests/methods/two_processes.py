"""One of several processes that take the loss of one batch together; run by test_gather.py."""

import sys

import torch
import torch.distributed as dist

from medssl import backbones, methods
from medssl.chance import Chance

IMAGES = 5


def method_and_views():
    torch.manual_seed(3)
    overrides = {"width": 32, "depth": 1, "heads": 2, "patch_size": 8}
    backbone = backbones.build("vit_nano", in_channels=1, image_size=16, overrides=overrides)
    method = methods.build("simclr", backbone, {"temperature": 0.3, "projection_width": 8})
    views = [torch.randn(IMAGES, 1, 16, 16), torch.randn(IMAGES, 1, 16, 16)]
    return method, views


def result(method, loss):
    gradients = {name: parameter.grad for name, parameter in method.named_parameters()}
    return {"loss": loss.detach(), "gradients": gradients, "buffers": dict(method.named_buffers())}


def main(rank: int, world: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    method, views = method_and_views()
    cuts = [0, 3, IMAGES]  # three images on one process, two on the other
    own = slice(cuts[rank], cuts[rank + 1])
    loss = method([view[own] for view in views], Chance(list(range(IMAGES))[own]))["loss"]
    loss.backward()
    for parameter in method.parameters():  # the average, as DDP takes it
        dist.all_reduce(parameter.grad)
        parameter.grad /= world
    torch.save(result(method, loss), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
