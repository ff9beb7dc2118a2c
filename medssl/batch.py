"""What travels through training: images with what is known of them."""

from dataclasses import dataclass

import torch


@dataclass
class Batch:
    """A batch of samples of one size.

    Attributes:
        image: Stored intensities, (B, C, *spatial), uint8 or uint16 as in the store, or float once they are views.
        sample_id: One id a sample.
        patient_id: One id a sample, None where it is unknown.
        content: The content hash that chance is drawn from, made unique among repeated images.
        label: (B,) float, NaN where it is unknown; None where no label was asked for.
        spacing_mm: (B, D) float in the order of the spatial axes, NaN where it is unknown.
        mask: (B, 1, *spatial) integer label map, or None.
        occupied: (B, D, 2) float, first and last end along each spatial axis of what is more than padding, -1 and 1
            being the outer edges; None where all is.
        partner: As many samples, of which every other view is made; None where all views are of these.
        kin: (B,) int64, equal where two samples must not be each other's negatives; None where all differ.
    """

    image: torch.Tensor
    sample_id: list[str]
    patient_id: list[str | None]
    content: list[str]
    label: torch.Tensor | None = None
    spacing_mm: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    occupied: torch.Tensor | None = None
    partner: "Batch | None" = None
    kin: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)
