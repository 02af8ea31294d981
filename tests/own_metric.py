"""A metric as a user would write one: how many objects are caught."""

import collections
import dataclasses
from typing import ClassVar

from ioub_jax.evaluation import Report


@dataclasses.dataclass(frozen=True)
class Caught:
    """The share of the objects whose image has a detection of their class for each.

    Attributes:
      score: what a detection must reach.
    """

    score: float = 0.0
    name: ClassVar[str] = "caught"
    headline_key: ClassVar[str] = "caught"

    def compute(self, ground_truth, detections):
        objects, found = (
            collections.Counter((row["image_id"], row["category_id"]) for row in rows)
            for rows in (
                ground_truth["annotations"],
                [row for row in detections if row["score"] >= self.score],
            )
        )
        caught, count = (objects & found).total(), objects.total()
        return Report(
            # The headline is not the first.
            numbers={
                "caught_per_image": caught / len(ground_truth["images"]),
                "caught": caught / count,
            },
            table=f"{caught} of {count} objects",
        )
