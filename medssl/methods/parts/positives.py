"""Which two images make a positive pair: a setting of every method that compares views."""

from typing import Annotated, Literal

from pydantic import Field

Positives = Annotated[
    Literal["image", "patient", "study", "neighbours"],
    Field(description="what the views of a pair are of: one image, or two of a patient, a study or a volume"),
]
"""Azizi et al., "Big self-supervised models advance medical image classification", 2021 (https://arxiv.org/abs/2101.05224),
pair two images of a patient (MICLe). Every other view is then of the partner; one without partner pairs with itself."""

NeighbourDistance = Annotated[
    int, Field(ge=1, description="with neighbours: how far apart the numbers of two frames or slices may be")
]
