"""Early stopping of a training whose evaluations no longer improve, from its records alone.

So a run that goes on, wherever it was interrupted, ends where it would have ended.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ioub_jax.training.experiment import TrainingOptions


class Ending(NamedTuple):
    """Reason for the early end of a training.

    Attributes:
      step: of the evaluation after which it ended.
      best_step: of the best one.
      best: what that reached.
      key: what is called so in the records.
    """

    step: int
    best_step: int
    best: float
    key: str

    def describe(self, options: TrainingOptions) -> str:
        """The step of the end, and the best evaluation, without a full stop."""
        evaluations = f"{options.patience} evaluation{'s' if options.patience != 1 else ''}"
        better = f" by more than {options.min_delta:g}" if options.min_delta else ""
        return (
            f"at step {self.step:,} of {options.steps:,}, after {evaluations} without a better "
            f"{self.key}{better}; the best is {self.best:.3f}, at step {self.best_step:,}"
        )


def ending(
    evaluations: Sequence[Mapping[str, Any]], key: str, options: TrainingOptions
) -> Ending | None:
    """Reason why a training ends with its last evaluation; None if it does not.

    It ends where the last `patience` evaluations were not better than the best before them by more
    than `min_delta`, before the last of its steps.

    Args:
      evaluations: the records of `evaluation.jsonl`, in their order; those without a number of that
        name, such as where nothing is annotated, say nothing.
      key: the headline.
      options: with `patience`, None for a training that goes on to its end.
    """
    if options.patience is None:
        return None
    numbers = [(record["step"], record[key]) for record in evaluations if _has(record, key)]
    to_beat, since = -float("inf"), 0
    for _, number in numbers:
        is_better = number > to_beat + options.min_delta
        to_beat, since = (number, 0) if is_better else (to_beat, since + 1)
    if since < options.patience or numbers[-1][0] >= options.steps:
        return None
    best_step, best = max(numbers, key=lambda pair: pair[1])
    return Ending(numbers[-1][0], best_step, best, key)


def _has(record: Mapping[str, Any], key: str) -> bool:
    return isinstance(record.get(key), int | float)
