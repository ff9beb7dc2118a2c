"""How much a run sees, which decides settings that papers chose for theirs."""

from typing import NamedTuple

from medssl.settings import Choice

_SHARE = 0.2
_LEAST = 10


class Amount(NamedTuple):
    """What a run sees.

    Attributes:
        images: That are trained on.
        batch: Images a step, over all processes.
        epochs: Passes over them.
        steps: All optimizer steps.
    """

    images: int
    batch: int
    epochs: int
    steps: int


def fitting_momentum(amount: Amount, paper: float, paper_batch: int) -> Choice:
    """Return the momentum of a moving average that remembers as many images as the paper's, or less in a short run.

    With a batch k times the paper's the momentum is m^k, by the rule of Busbridge et al., "How to scale your EMA", 2023
    (https://arxiv.org/abs/2307.13813). It remembers 1 / (1 - m) steps: at most a fifth of the run here, so that the
    average moves at all, but 10 steps at least. The fifth is ours and not tuned.

    Args:
        amount: What the run sees.
        paper: The paper's momentum at the start.
        paper_batch: The batch it was chosen for.
    """
    scaled = paper ** (amount.batch / paper_batch)
    longest = 1 - 1 / max(_LEAST, _SHARE * amount.steps)
    rule = f"{paper:g} at a batch of {paper_batch}, scaled to {amount.batch} (arXiv 2307.13813)"
    if scaled <= longest:
        return Choice(round(scaled, 6), rule)
    return Choice(round(longest, 6), f"a memory of 20 % of {amount.steps} steps; {rule} would be {scaled:.6g}")
