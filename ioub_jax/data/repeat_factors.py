"""Repeat-factor sampling, which repeats images with rare classes (LVIS, arXiv 1908.03195).

An image has the factor `r_i = max over its classes c of max(1, sqrt(t / f_c))`, where f_c is the
share of the images that have class c. Factors are not whole numbers. They are rounded up or down in
every epoch, so that an image occurs r_i times per epoch on average.
"""

import numpy as np

from ioub_jax.data.sources.annotations import Annotations


def images_of_classes(
    annotations: Annotations, learned: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an image and a class that occurs in it, each pair once.

    Args:
      annotations: the objects of n images.
      learned: bool `[m]`, whether each object is learned; others do not count.
      num_classes: C, the number of classes.

    Returns:
      int64 `[p]`, the image of each pair, ascending; int64 `[p]`, its class.
    """
    images = np.repeat(np.arange(len(annotations)), annotations.counts)[learned]
    pairs = np.unique(images * num_classes + annotations.labels[learned])
    return pairs // num_classes, pairs % num_classes


def repeat_factors(
    images: np.ndarray, labels: np.ndarray, num_images: int, num_classes: int, threshold: float
) -> np.ndarray:
    """Repeat factor of each image in an epoch.

    Args:
      images: int64 `[p]`, the images from `images_of_classes`.
      labels: int64 `[p]`, the classes from `images_of_classes`.
      num_images: n, the number of images.
      num_classes: C, the number of classes.
      threshold: t, a share of the images; images with classes below it are repeated.

    Returns:
      float64 `[n]`, at least 1; 1 for images without objects.
    """
    shares = np.bincount(labels, minlength=num_classes) / max(num_images, 1)
    of_classes = np.sqrt(threshold / np.maximum(shares, np.finfo(float).tiny))
    factors = np.ones(num_images)
    np.maximum.at(factors, images, of_classes[labels])
    return factors


def rounded(factors: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers with a given sum, each of them a factor rounded up or down.

    All factors are rounded by a single random number (systematic sampling), so that all epochs have
    the same length. The order of the factors is random too, since the rounding of neighbors would
    otherwise be correlated in the same way in every epoch.

    Args:
      factors: float64 `[n]`, at least 1. The parts above 1 are scaled so that the sum is `total`.
      total: the sum of the result, which is the rounded sum of the factors.
      rng: the generator of the epoch.

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
