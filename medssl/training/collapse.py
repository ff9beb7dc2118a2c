"""Stop a run whose method says by its own terms that it learns nothing any more."""

from collections.abc import Mapping, Sequence

from medssl.errors import MedsslError
from medssl.methods.parts.alarm import Alarm

LONG = 0.1
"""Share of all steps that a term must stay where it says collapse."""
LEAST = 200
"""Steps that this is at least."""
GO_ON = "To train on nevertheless, start anew with train.stop_when_collapsed=false"


class Alarms:
    """Count for how many steps each alarm has held, in windows of the log, after the warm-up.

    Example:
        alarms = Alarms([Alarm("loss", 8.2, 8.4, "as where all outputs are alike", "Lower dino.prototypes")], 10, 5000)
        alarms.look(step, {"loss": 8.3}, steps_of_window)
    """

    def __init__(self, alarms: Sequence[Alarm], warmup: int, total: int) -> None:
        """Watch for these.

        Args:
            alarms: Of the method.
            warmup: Steps that do not count.
            total: All steps of the run.
        """
        self.alarms, self.warmup = alarms, warmup
        self.long = max(LEAST, round(LONG * total))
        self.held = [0] * len(alarms)

    def look(self, step: int, means: Mapping[str, float], steps: int) -> None:
        """Take in a window of the log.

        Args:
            step: Steps so far.
            means: Of each term over the window, over all processes, so that these agree.
            steps: Of the window.

        Raises:
            MedsslError: A term has been where it says collapse for long; it is named, with what to change.
        """
        for place, alarm in enumerate(self.alarms):
            holds = step > self.warmup and alarm.low <= means[alarm.term] <= alarm.high
            self.held[place] = self.held[place] + steps if holds else 0
            if self.held[place] >= self.long:
                raise MedsslError(
                    f"The training has collapsed: the term '{alarm.term}' has been at {means[alarm.term]:.4g} for "
                    f"{self.held[place]} steps up to step {step}, {alarm.meaning}",
                    fix=f"{alarm.fix}. {GO_ON}",
                )
