"""Plans of the images in each batch, and the layout of a batch."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ioub_jax.data.repeat_factors import rounded
from ioub_jax.data.resizing import Resize
from ioub_jax.data.sources.example import Example, largest_boxes, select_objects

# The mean color of ImageNet, which is about zero after the model has normalized its input.
PADDING_COLOR = (124, 116, 104)
FIT = Resize("fit")
MAX_CANVASES = 5  # each one costs a compilation
# A box that also contains anchors beyond the edge of the image.
_EVERYWHERE = (-1e4, -1e4, 1e5, 1e5)


def padding_color(channels: int) -> tuple[int, ...]:
    """The padding color of images by their number of channels.

    For 3 channels it is `PADDING_COLOR`. For 1 or 2 channels it is the gray of that color (ITU-R
    601). For more channels it is that color, followed by the mean of its three numbers for each
    further channel.
    """
    if channels == 3:
        return PADDING_COLOR
    if channels < 3:
        return (round(np.dot(PADDING_COLOR, (0.299, 0.587, 0.114))),) * channels
    return (*PADDING_COLOR, *(round(sum(PADDING_COLOR) / 3),) * (channels - 3))


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """One global batch.

    Attributes:
      canvas: height and width of its images.
      indices: int64 `[B]`, positions of the images in the source.
      epochs: int64 `[B]`, how often each image has been seen before; with repeat factors, a number
        that is different every time the image is seen.
      is_real: bool `[B]`, False for examples that only fill the batch.
      scale: a factor of the size of its images.
    """

    canvas: tuple[int, int]
    indices: np.ndarray
    epochs: np.ndarray
    is_real: np.ndarray
    scale: float = 1.0


class Plan(Protocol):
    """A plan of the images in every batch."""

    batch_size: int
    canvases: tuple[tuple[int, int], ...]
    resize: Resize

    def __getitem__(self, step: int) -> PlannedBatch:
        """The global batch of a step, the same on every host."""


def _check(sizes: np.ndarray, batch_size: int, canvases: Sequence[tuple[int, int]]) -> None:
    if batch_size < 1:
        raise ValueError(f"The batch size is {batch_size} and must be at least 1.")
    if len(sizes) == 0:
        raise ValueError("A batch plan needs at least one image.")
    if not 1 <= len(canvases) <= MAX_CANVASES:
        raise ValueError(
            f"There are {len(canvases)} canvases and there must be 1 to {MAX_CANVASES}: "
            "the model is compiled for each."
        )


class BatchPlan:
    """The training batches: `plan[step]` is a pure function of (sizes, seed, step).

    In every epoch the images are put into a new random order and added, one by one, to the bucket
    of their canvas. A bucket with `batch_size` images becomes the next batch. Images that are left
    in the buckets at the end of an epoch stay there for the next one, so none is dropped or
    repeated: the images of one canvas are seen in whole epochs, whatever the batch size.

    With repeat factors, an image occurs in an epoch as often as its factor says, rounded up or down
    anew in every epoch. All epochs have the same length.

    Args:
      sizes: `[n, 2]`, height and width of each image.
      batch_size: images of a global batch.
      seed: seed of the order, at least 0.
      canvases: height and width of each canvas.
      resize: how images are scaled, which also determines the canvas of each image.
      scales: factors of that size in (0, 1], one of which is drawn for each batch.
      shuffle: whether the order is random; otherwise every epoch has the source's order.
      repeats: float64 `[n]`, how often each image occurs in an epoch, at least 1; None: once.

    Attributes:
      images_per_epoch: number of images of an epoch, counting every repetition.

    Raises:
      ValueError: there are no images, the batch size is below 1, there are no or too many
        canvases, or a scale is not in (0, 1].
    """

    def __init__(
        self,
        sizes: np.ndarray,
        batch_size: int,
        seed: int,
        canvases: Sequence[tuple[int, int]],
        *,
        resize: Resize = FIT,
        scales: Sequence[float] = (1.0,),
        shuffle: bool = True,
        repeats: np.ndarray | None = None,
    ) -> None:
        _check(sizes, batch_size, canvases)
        if not scales or not all(0 < scale <= 1 for scale in scales):
            raise ValueError(
                f"scales is {tuple(scales)}; it must hold factors above 0, at most 1: "
                "set resize and canvases to the largest size of the training."
            )
        if resize.mode == "stretch" and set(scales) != {1.0}:
            raise ValueError(
                "scales must be (1.0,) where resize.mode is 'stretch': a stretched image has the "
                "size of its canvas."
            )
        self.batch_size = batch_size
        self.resize = resize
        self._scales = tuple(scales)
        self.canvases = tuple((int(height), int(width)) for height, width in canvases)
        self._seed = seed
        self._shuffle = shuffle
        self._canvas_of = resize.assign(sizes, self.canvases)
        self._repeats = repeats
        counts = np.bincount(self._canvas_of, repeats, minlength=len(self.canvases))
        self._counts = np.floor(counts + 0.5).astype(np.int64)
        self.images_per_epoch = int(self._counts.sum())
        # No image occurs more often in an epoch.
        self._most = 1 if repeats is None else int(np.ceil(repeats.max())) + 1
        self._epochs: dict[int, _Epoch] = {}

    def __getitem__(self, step: int) -> PlannedBatch:
        """The batch of any step >= 0."""
        if step < 0:
            raise IndexError(f"Steps are counted from 0; there is no step {step}.")
        # Some images stay behind in the buckets, so the batch is never complete before this epoch.
        epoch = step * self.batch_size // self.images_per_epoch
        while self._batches_before(epoch + 1).sum() <= step:
            epoch += 1
        canvas, number = self._epoch(epoch).batches[step - self._batches_before(epoch).sum()]
        positions = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        epochs, offsets = np.divmod(positions, self._counts[canvas])
        indices, times = np.empty((2, self.batch_size), np.int64)
        for seen in range(epochs[0], epochs[-1] + 1):
            now = epochs == seen
            of_epoch = self._epoch(seen)
            indices[now] = of_epoch.members[canvas][offsets[now]]
            times[now] = seen * self._most + of_epoch.times[canvas][offsets[now]]
        is_real = np.ones(self.batch_size, bool)
        return PlannedBatch(self.canvases[canvas], indices, times, is_real, self._scale(step))

    def _scale(self, step: int) -> float:
        # A separate spawn key, since the order of an epoch is drawn from (seed, epoch).
        seed = np.random.SeedSequence((self._seed, step), spawn_key=(1,))
        return float(np.random.default_rng(seed).choice(self._scales))

    def _batches_before(self, epoch: int) -> np.ndarray:
        """Number of complete batches of each canvas before an epoch."""
        return epoch * self._counts // self.batch_size

    def _epoch(self, epoch: int) -> "_Epoch":
        """The order of an epoch; a few are cached, since neighboring steps share them."""
        found = self._epochs.get(epoch)
        if found is None:
            if len(self._epochs) >= 4:
                self._epochs.clear()
            found = self._epochs[epoch] = self._create_epoch(epoch)
        return found

    def _drawn(self, epoch: int) -> np.ndarray:
        """The images of an epoch in the source's order, each as often as it occurs."""
        images = np.arange(len(self._canvas_of))
        if self._repeats is None:
            return images
        # A separate spawn key, as in `_scale`.
        rng = np.random.default_rng(np.random.SeedSequence((self._seed, epoch), spawn_key=(2,)))
        counts = np.zeros(len(images), np.int64)
        for canvas, total in enumerate(self._counts):
            members = np.flatnonzero(self._canvas_of == canvas)
            if len(members):
                counts[members] = rounded(self._repeats[members], int(total), rng)
        return np.repeat(images, counts)

    def _create_epoch(self, epoch: int) -> "_Epoch":
        drawn = self._drawn(epoch)
        # Numbers the occurrences of each image from 0; they are adjacent in `drawn`.
        times_of = np.arange(len(drawn)) - np.searchsorted(drawn, drawn)
        order = np.arange(len(drawn))
        if self._shuffle:
            order = np.random.default_rng((self._seed, epoch)).permutation(order)
        done, due = self._batches_before(epoch), self._batches_before(epoch + 1)
        members, times, completed = [], [], []
        for canvas, count in enumerate(self._counts):
            arrivals = np.flatnonzero(self._canvas_of[drawn[order]] == canvas)
            members.append(drawn[order[arrivals]])
            times.append(times_of[order[arrivals]])
            numbers = np.arange(done[canvas], due[canvas])
            last = (numbers + 1) * self.batch_size - 1 - epoch * count
            completed.append(np.stack([arrivals[last], np.full_like(numbers, canvas), numbers]))
        by_arrival = np.concatenate(completed, axis=1)
        by_arrival = by_arrival[:, by_arrival[0].argsort()]
        return _Epoch(members, times, by_arrival[1:].T)


@dataclasses.dataclass(frozen=True)
class _Epoch:
    """One epoch of a plan.

    Attributes:
      members: for each canvas, its images in the order of the epoch.
      times: for each canvas, the number of each image's occurrence in this epoch, from 0 and in the
        source's order.
      batches: int64 `[b, 2]`, for each batch completed in this epoch its canvas and its number
        among the batches of that canvas.
    """

    members: list[np.ndarray]
    times: list[np.ndarray]
    batches: np.ndarray


class EvaluationPlan:
    """The evaluation batches, with every image exactly once.

    The last batch of a canvas is filled up with examples that are not real.

    Args:
      sizes: `[n, 2]`, height and width of each image.
      batch_size: images of a global batch.
      canvases: height and width of each canvas.
      resize: how images are scaled.

    Raises:
      ValueError: there are no images, the batch size is below 1, or there are no or too many
        canvases.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        batch_size: int,
        canvases: Sequence[tuple[int, int]],
        *,
        resize: Resize = FIT,
    ) -> None:
        _check(sizes, batch_size, canvases)
        self.batch_size = batch_size
        self.resize = resize
        self.canvases = tuple((int(height), int(width)) for height, width in canvases)
        canvas_of = resize.assign(sizes, self.canvases)
        self._batches: list[tuple[int, np.ndarray]] = []
        for canvas in range(len(self.canvases)):
            members = np.flatnonzero(canvas_of == canvas)
            for start in range(0, len(members), batch_size):
                self._batches.append((canvas, members[start : start + batch_size]))

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._batches)

    def __getitem__(self, step: int) -> PlannedBatch:
        """The batch of a step; image 0 fills it up if there are too few images."""
        canvas, members = self._batches[step]
        indices = np.zeros(self.batch_size, np.int64)
        indices[: len(members)] = members
        is_real = np.arange(self.batch_size) < len(members)
        return PlannedBatch(self.canvases[canvas], indices, np.zeros_like(indices), is_real)


def keep_largest(example: Example, max_boxes: int) -> Example:
    """Drops the smallest boxes beyond `max_boxes`; the others keep their order."""
    return select_objects(example, largest_boxes(example.boxes, max_boxes))


def assemble_batch(
    images: np.ndarray,
    examples: Sequence[Example],
    original_sizes: np.ndarray,
    *,
    max_boxes: int,
    is_real: Iterable[bool],
) -> dict[str, np.ndarray]:
    """Stacks the objects of B examples and pads their images.

    Args:
      images: uint8 `[B, Hc, Wc, channels]`, each example's image in the top left corner of its row;
        the rest is overwritten with padding.
      examples: B examples at their size on the canvas, none with more than `max_boxes` objects.
      original_sizes: `[B, 2]`, height and width of each image in its data set.
      max_boxes: M, the ground-truth slots of an image.
      is_real: B flags, False for examples that only fill the batch.

    Returns:
      image uint8 `[B, Hc, Wc, channels]`; boxes float32 `[B, M, 4]` in canvas pixels; labels int32
      `[B, M]` (-1 in empty slots); valid, crowd, difficult, ignored bool `[B, M]`; image_size
      float32 `[B, 2]`, height and width of the image inside the canvas; scale float32 `[B, 2]`,
      canvas pixels per original pixel along y and x, if the whole image is on the canvas;
      image_id int64 `[B]`; is_real bool `[B]`.
    """
    slots = (len(examples), max_boxes)
    batch: dict[str, np.ndarray] = {
        "image": images,
        "boxes": np.zeros((*slots, 4), np.float32),
        "labels": np.full(slots, -1, np.int32),
        "valid": np.zeros(slots, bool),
        "crowd": np.zeros(slots, bool),
        "difficult": np.zeros(slots, bool),
        "ignored": np.zeros(slots, bool),
        "image_size": np.zeros((len(examples), 2), np.float32),
        "image_id": np.array([example.image_id for example in examples], np.int64),
        "is_real": np.array(list(is_real), bool),
    }
    # Numpy copies a line of pixels at once, but would assign a color pixel by pixel.
    color = np.array(padding_color(images.shape[3]), np.uint8)
    padding = np.tile(color, (images.shape[2], 1))
    for row, example in enumerate(examples):
        assert example.image is not None
        height, width = example.image.shape[:2]
        images[row, height:] = padding
        images[row, :height, width:] = padding[width:]
        count = len(example.labels)
        batch["boxes"][row, :count] = example.boxes
        batch["labels"][row, :count] = example.labels
        batch["valid"][row, :count] = True
        batch["crowd"][row, :count] = example.crowd
        batch["difficult"][row, :count] = example.difficult
        batch["ignored"][row, :count] = example.ignored
        batch["image_size"][row] = height, width
    batch["scale"] = (batch["image_size"] / original_sizes).astype(np.float32)
    return batch


def without_fillers(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A batch in which examples that are not real have no loss.

    Each of them gets a single region to ignore, which covers the whole image.

    Args:
      batch: a batch from `assemble_batch`.

    Returns:
      The batch with changed `boxes`, `valid` and `ignored`.
    """
    fillers = ~batch["is_real"]
    if not fillers.any():
        return dict(batch)
    changed = dict(batch)
    for name, value in (("boxes", _EVERYWHERE), ("valid", True), ("ignored", True)):
        changed[name] = batch[name].copy()
        changed[name][fillers] = 0
        changed[name][fillers, 0] = value
    return changed
