"""Repeat-factor sampling, which repeats images with rare classes (LVIS, arXiv 1908.03195).

An image has the factor `r_i = max over its classes c of max(1, sqrt(t / f_c))`, where f_c is the
share of the images that have class c. A factor is no whole number: in every epoch it is rounded up
or down, so that over epochs an image comes r_i times on average.
"""

import numpy as np

from ioub_jax.data.sources.annotations import Annotations


def images_of_classes(
    annotations: Annotations, learned: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an image and a class in it, each pair once.

    Args:
      annotations: of n images.
      learned: bool `[m]`, the objects that are learned: others do not count.
      num_classes: C.

    Returns:
      int64 `[p]`, the image of each pair, rising; int64 `[p]`, its class.
    """
    images = np.repeat(np.arange(len(annotations)), annotations.counts)[learned]
    pairs = np.unique(images * num_classes + annotations.labels[learned])
    return pairs // num_classes, pairs % num_classes


def repeat_factors(
    images: np.ndarray, labels: np.ndarray, num_images: int, num_classes: int, threshold: float
) -> np.ndarray:
    """Repeat factor of each image in an epoch.

    Args:
      images: int64 `[p]`, as `images_of_classes`.
      labels: int64 `[p]`, likewise.
      num_images: n.
      num_classes: C.
      threshold: t, a share of the images: classes in fewer of them come more often.

    Returns:
      float64 `[n]`, at least 1; 1 of an image without objects.
    """
    shares = np.bincount(labels, minlength=num_classes) / max(num_images, 1)
    of_classes = np.sqrt(threshold / np.maximum(shares, np.finfo(float).tiny))
    factors = np.ones(num_images)
    np.maximum.at(factors, images, of_classes[labels])
    return factors


def rounded(factors: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers with a given sum, each a factor rounded up or down.

    All are rounded by one draw (systematic sampling): what is up for one is down for another, so
    that an epoch is as long as any other. In a new order each time, since neighbours would
    otherwise be up or down together.

    Args:
      factors: float64 `[n]`, at least 1. What they are above 1 is scaled, so that `total` is the
        sum of all.
      total: the sum, that of the factors rounded.
      rng: of the epoch.

    Returns:
      int64 `[n]`, at least 1.
    """
    factors, total = factors - 1.0, total - len(factors)
    if total == 0:
        return np.ones(len(factors), np.int64)
    order, start = rng.permutation(len(factors)), rng.random()
    edges = np.cumsum(factors[order])
    edges *= total / edges[-1]
    edges[-1] = total
    passed = np.floor(edges + start).astype(np.int64)
    counts = np.empty(len(factors), np.int64)
    counts[order] = 1 + np.diff(passed, prepend=0)
    return counts
