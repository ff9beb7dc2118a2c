"""One of several processes that train on one batch together; run by test_two_processes.py."""

import sys

import torch
import torch.distributed as dist

from medssl import backbones, methods
from medssl.backbones.parts.synced import synchronise
from medssl.chance import Chance
from medssl.methods.parts.wish import edges

IMAGES, STEPS = 5, {2: 50, 3: 10}
SIZES = {2: 32, 3: 16}
SMALL = {
    "vit": {"width": 32, "depth": 1, "heads": 2, "patch_size": 8},
    "resnet": {"stem_width": 4, "layers": (1, 1, 1, 1)},
}
NAMES = {"vit": "vit_nano", "resnet": "resnet18"}
SETTINGS = {
    "simclr": {"temperature": 0.3, "projection_width": 8},
    "simclr patients": {"temperature": 0.3, "projection_width": 8},
    "simclr triplets of patients": {"loss": "triplet", "margin": 0.5, "projection_width": 8},
    "mae": {"decoder_width": 32},
    "mae_contrast": {"projection_width": 8},
    "ijepa": {"momentum": 0.9},
    "byol": {"projection_width": 8, "momentum": 0.9},
    "vicreg": {"expander_width": 8},
    "lejepa": {"projection_width": 8, "directions": 8, "local_views": 1},
    "spark": {"decoder_width": 32},
    "dino": {"prototypes": 10, "bottleneck": 8, "local_views": 1, "freeze_last_layer": 0.1},
    "dino plain": {"prototypes": 10, "bottleneck": 8, "local_views": 1, "freeze_last_layer": 0.1, "head_norm": False},
}
RATES = {"simclr triplets of patients": 0.0005}  # a sum over 10 views; faster, rounding itself grows a million times
VOLUMES = [("vicreg", "vit"), ("vicreg", "resnet"), ("mae", "vit")]  # in 3D too, where fewer steps do
PAIRS = [
    (method, family)
    for method in SETTINGS
    for family in SMALL
    if methods.supports(method.split()[0], family) and (" " not in method or family == "vit")  # their heads are alike
]


def train(name, family, rows, world=1, dims=2):
    """Return the loss of each step, and the weights and buffers at the end, in float64.

    With "patients" behind the name of a method, images 0 and 3 are of one, as are 1 and 2: on two processes and on one.
    """
    torch.manual_seed(3)
    backbone = backbones.build(
        NAMES[family], in_channels=1, spatial_dims=dims, image_size=SIZES[dims], overrides=SMALL[family]
    )
    method = methods.build(name.split()[0], backbone, SETTINGS[name]).double()
    kin = {"kin": torch.tensor([5, 7, 7, 5, 9])[rows]} if "patients" in name else {}
    if world > 1:
        synchronise(method)
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=RATES.get(name, 0.005), momentum=0.9)
    losses = []
    for step in range(STEPS[dims]):
        noise = torch.Generator().manual_seed(step)
        whole = (SIZES[dims],) * dims
        sizes = [edges(wish.size, whole) for wish in method.wish for _ in range(wish.count)]
        views = [torch.randn(IMAGES, 1, *s, generator=noise, dtype=torch.float64)[rows] for s in sizes]
        loss = method(views, Chance(list(range(IMAGES))[rows]), **kin)["loss"]
        optimizer.zero_grad()
        loss.backward()
        loss = loss.detach().clone()
        if world > 1:  # the averages that DDP takes
            tensors = [loss, *(p.grad for p in method.parameters() if p.requires_grad)]
            together = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(together)
            for tensor, mean in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor) / world)
        optimizer.step()
        method.after_step(step, STEPS[dims])
        losses.append(loss)
    return {"losses": torch.stack(losses), "state": method.state_dict()}


def main(rank: int, world: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    cuts = [0, 3, IMAGES]  # three images on one process, two on the other
    rows = slice(cuts[rank], cuts[rank + 1])
    tasks = [*((*pair, 2) for pair in PAIRS), *((*pair, 3) for pair in VOLUMES)]
    found = {f"{name} {family} {dims}": train(name, family, rows, world, dims) for name, family, dims in tasks}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
