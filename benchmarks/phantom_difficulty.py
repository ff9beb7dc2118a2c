"""How hard is the synthetic OCT cohort? AUROC of `scratch`, `pixels` and `shortcut`, in and out of distribution.

    python benchmarks/phantom_difficulty.py --cohorts 3 --seeds 2

These three alone set the phantom's parameters; nothing here is pretrained. The vision transformer is a small one of
its own (128 wide, 6 deep, patch 8), so that the figures do not move with the package. Some three minutes a cohort
and seed on one core.
"""

import argparse
import time
import zlib

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from medssl.data.phantom import oct as phantom


class Site:
    """The B-scans of one device with labels, patients and splits."""

    def __init__(self, device: str, patients: int, seed: int, only: str) -> None:
        """Draw them; `only` keeps disease of one kind beside the normals."""
        scheme = phantom.plan(seed, device, patients)
        scheme = [b for b in scheme if only in ("all", b.label) or b.label == "normal"]
        parts = [scheme[i : i + 32] for i in range(0, len(scheme), 32)]
        self.pictures = np.concatenate([phantom.draw_bscans(device, part, seed) for part in parts])
        self.label = np.array([b.label != "normal" for b in scheme]).astype(int)
        self.kind = np.array([b.label for b in scheme])
        self.patient = np.array([b.patient for b in scheme])
        self.train = np.array([b.split == "train" for b in scheme])

    def resized(self, size: int) -> np.ndarray:
        """Return the pictures as squares by area averaging, (N, size, size) float32."""
        return np.stack(
            [
                np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BOX), np.float32)
                for p in self.pictures
            ]
        )

    def shortcuts(self) -> np.ndarray:
        """Return statistics that see no anatomy, (N, features)."""
        rows = []
        for p in self.pictures:
            f = p.astype(np.float32)
            borders = [f[:8].mean(), f[-8:].mean(), f[:, :8].mean(), f[:, -8:].mean()]
            histogram = np.histogram(p, bins=16, range=(0, 256))[0] / p.size
            size = [*p.shape, len(zlib.compress(p.tobytes(), 6)) / p.size]
            rows.append([f.mean(), f.std(), *borders, *size, *histogram])
        return np.array(rows)


def linear(train_x: np.ndarray, train: Site, tests: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Return AUROC of a logistic regression whose penalty is chosen by patient-grouped cross-validation."""
    x, y, groups = train_x[train.train], train.label[train.train], train.patient[train.train]
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(x, y, groups))
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500)) for c in (1e-4, 1e-3, 1e-2, 0.1, 1.0)
    ]
    losses = [log_loss(y, cross_val_predict(m, x, y, cv=folds, method="predict_proba")) for m in models]
    best = models[int(np.argmin(losses))].fit(x, y)
    return {name: roc_auc_score(labels, best.predict_proba(values)[:, 1]) for name, (values, labels) in tests.items()}


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        """Make attention and perceptron."""
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, N, D) to tokens."""
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """A small vision transformer with fixed sin-cos positions and mean pooling."""

    def __init__(self, size: int, patch: int = 8, width: int = 128, depth: int = 6, heads: int = 4) -> None:
        """Make the layers for square pictures of `size` pixels."""
        super().__init__()
        self.embed = nn.Conv2d(1, width, patch, patch)
        grid = size // patch
        angle = np.arange(grid)[:, None] / 10000 ** (np.arange(width // 4) / (width // 4))
        one = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
        both = np.concatenate([np.repeat(one, grid, axis=0), np.tile(one, (grid, 1))], axis=1)
        self.register_buffer("positions", torch.tensor(both, dtype=torch.float32))
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map pictures (B, 1, H, W) to logits (B,)."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens).mean(1)))[:, 0]


def scratch(
    images: np.ndarray, site: Site, tests: dict[str, tuple[np.ndarray, np.ndarray]], args: argparse.Namespace, seed: int
) -> tuple[dict[str, float], str]:
    """Train the transformer on all training patients, stop early on a fifth of them, return AUROC and remarks."""
    torch.manual_seed(seed)
    x, y = standardised(images[site.train]), torch.tensor(site.label[site.train], dtype=torch.float32)
    split = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(x, y, site.patient[site.train])
    fit, held = (torch.tensor(rows) for rows in next(iter(split)))
    model = Transformer(images.shape[-1])
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05, betas=(0.9, 0.95))
    best, best_state, since, began, curve = np.inf, model.state_dict(), 0, time.process_time(), []
    steps, step = args.epochs * (len(fit) // args.batch), 0
    for _ in range(args.epochs):
        model.train()
        for rows in fit[torch.randperm(len(fit))].split(args.batch):
            if len(rows) < args.batch:
                continue
            rate = min(1.0, (step + 1) / 40) * 0.5 * (1 + np.cos(np.pi * min(1.0, step / steps)))
            optimizer.param_groups[0]["lr"] = args.lr * rate
            loss = nn.functional.binary_cross_entropy_with_logits(model(weak(x[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            mean.update_parameters(model)
            step += 1
        value = log_loss(y[held], predict(mean, x[held]))
        curve.append(f"{value:.2f}")
        since += 1
        if value < best:
            best, since = value, 0
            best_state = {name: tensor.clone() for name, tensor in mean.module.state_dict().items()}
        if since >= args.patience:
            break
    seconds = time.process_time() - began
    model.load_state_dict(best_state)
    scores = {n: roc_auc_score(labels, predict(model, standardised(images))) for n, (images, labels) in tests.items()}
    return (
        scores,
        f"{len(curve)} epochs, {seconds:.0f} CPU s, validation loss {' '.join(curve[:: max(1, args.epochs // 15)])}",
    )


def standardised(images: np.ndarray) -> torch.Tensor:
    """Return pictures of mean 0 and deviation 1 each, (N, 1, H, W)."""
    x = torch.tensor(images)[:, None]
    return (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)


def weak(x: torch.Tensor, most: int = 4) -> torch.Tensor:
    """Flip half of the pictures sideways and shift all of them by up to `most` pixels."""
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    padded = nn.functional.pad(x, (most,) * 4, mode="replicate")
    size, offsets = x.shape[-1], torch.randint(0, 2 * most + 1, (len(x), 2)).tolist()
    return torch.stack([p[:, dy : dy + size, dx : dx + size] for p, (dy, dx) in zip(padded, offsets)])


@torch.inference_mode()
def predict(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    """Return probabilities of disease."""
    model.eval()
    return torch.cat([model(part).sigmoid() for part in x.split(128)]).double().numpy()


def main() -> None:
    """Print one row an arm, cohort and seed, then the ranges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=3, help="seeds of the cohort, from 0")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the training, from 0; 0 leaves scratch out")
    parser.add_argument("--patients", type=int, default=phantom.PATIENTS)
    parser.add_argument("--only", choices=("all", "drusen", "fluid"), default="all")
    parser.add_argument("--size", type=int, default=64, help="side of the picture scratch sees")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--patience", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {"pixels": [], "shortcut": [], "scratch": []}

    def add(arm: str, cohort: int, scores: dict[str, float], remark: str = "") -> None:
        rows[arm].append(scores)
        print(f"cohort {cohort} {arm:9} id {scores['id']:.3f} ood {scores['ood']:.3f} {remark}", flush=True)

    for cohort in range(args.cohorts):
        a = Site("device-a", args.patients, cohort, args.only)
        b = Site("device-b", round(args.patients * 3 / 7), cohort, args.only)

        def tests(of_a: np.ndarray, of_b: np.ndarray, a: Site = a, b: Site = b) -> dict:
            return {"id": (of_a[~a.train], a.label[~a.train]), "ood": (of_b, b.label)}

        small = [site.resized(16).reshape(len(site.label), -1) for site in (a, b)]
        add("pixels", cohort, linear(small[0], a, tests(*small)))
        trivial = [site.shortcuts() for site in (a, b)]
        add("shortcut", cohort, linear(trivial[0], a, tests(*trivial)))
        large = [site.resized(args.size) for site in (a, b)]
        for seed in range(args.seeds):
            add("scratch", cohort, *scratch(large[0], a, tests(*large), args, seed))
    for arm, scores in rows.items():
        for place in ("id", "ood"):
            values = np.array([row[place] for row in scores])
            if len(values):
                spread = f"sd {values.std():.3f} [{values.min():.3f}, {values.max():.3f}]"
                print(f"{arm:9} {place:3} mean {values.mean():.3f} {spread} of {len(values)}")


if __name__ == "__main__":
    main()
