"""Early stopping of a training whose evaluations no longer improve, from its records alone.

An interrupted run that resumes therefore ends at the same step as an uninterrupted one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ioub_jax.training.experiment import TrainingOptions


class Ending(NamedTuple):
    """Reason for the early end of a training.

    Attributes:
      step: the step of the evaluation after which the training ended.
      best_step: the step of the best evaluation.
      best: the headline of the best evaluation.
      key: the name of the headline in the records.
    """

    step: int
    best_step: int
    best: float
    key: str

    def describe(self, options: TrainingOptions) -> str:
        """The last step and the best evaluation in words, without a full stop."""
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

    It ends if none of the last `patience` evaluations exceeded the best one before them by more
    than `min_delta`, and if steps are left.

    Args:
      evaluations: the records of `evaluation.jsonl`, in their order. Records without a number under
        `key` are ignored, such as those of a data set without annotations.
      key: the name of the headline.
      options: the training options; `patience` is None for a training without early stopping.
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
