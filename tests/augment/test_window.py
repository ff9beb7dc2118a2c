"""Windows from a set."""

import pytest
import torch

from medssl.augment import window
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.settings import validate

SETTINGS = window.Settings(probability=0.75, windows=((0.2, 0.6), (-0.5, 0.5), (0.5, 1.5)))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_window_stretches_what_lies_in_it_and_clips_the_rest(dims: int) -> None:
    images = torch.tensor([0.1, 0.2, 0.3, 0.6, 0.9]).reshape(1, 1, 5, *[1] * (dims - 1))
    made = window.apply(images, {"ends": torch.tensor([[0.2, 0.6]], dtype=torch.float64)}).flatten()
    torch.testing.assert_close(made, torch.tensor([0.0, 0.0, 0.25, 1.0, 1.0]))


def test_each_window_is_drawn_as_often_as_the_others_and_the_rest_is_left_whole() -> None:
    ends = window.sample(Chance(range(4000)), SETTINGS)["ends"]
    for expected in [*SETTINGS.windows, (0.0, 1.0)]:
        share = (ends == torch.tensor(expected, dtype=torch.float64)).all(1).double().mean()
        assert abs(float(share) - 0.25) < 0.03


def test_a_window_upside_down_is_refused() -> None:
    with pytest.raises(SettingsError, match="lower to its upper"):
        validate(window.Settings, {"windows": [[0.5, 0.2]]}, where="augment.window")
