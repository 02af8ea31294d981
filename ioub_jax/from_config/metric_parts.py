"""The metrics that `config.evaluation` names."""

import ml_collections

from ioub_jax.errors import ConfigError
from ioub_jax.evaluation.coco_metrics import CocoMetric
from ioub_jax.evaluation.metric import Metric
from ioub_jax.evaluation.voc_metrics import VocMetric


def metrics_of(evaluation: ml_collections.ConfigDict) -> tuple[Metric, ...]:
    """The metrics of a configuration, in its order.

    Args:
      evaluation: `config.evaluation`: `metrics`, and the `backend` of COCO's.

    Raises:
      ConfigError: it names none, one twice, or one that does not exist.
    """
    names = tuple(evaluation.metrics)
    if not names or len(set(names)) < len(names) or not set(names) <= {"coco", "voc"}:
        raise ConfigError(
            f"evaluation.metrics is {names!r}; it must name 'coco', 'voc' or both, first the one "
            "whose AP picks the best checkpoint."
        )
    known: dict[str, Metric] = {"coco": CocoMetric(evaluation.backend), "voc": VocMetric()}
    return tuple(known[name] for name in names)
