"""Handling of bad input by one sentence that names the file and the way out."""

import collections
import dataclasses
import re

from ioub_jax.errors import UserError
from ioub_jax.printing import printable

ON_ERROR = ("raise", "skip")

#: Every kind of problem that a data set can have, with its heading in a report.
KINDS = {
    "missing_image": "image files that are missing",
    "unreadable_image": "image files that cannot be decoded",
    "bit_depth": "16-bit images with values beyond config.data.bit_depth",
    "image_size": "images whose size is not the annotated one",
    "missing_annotation": "images whose annotation file is missing",
    "broken_annotation": "annotation files, or entries of them, that cannot be read",
    "duplicate_image": "images listed twice",
    "unknown_image": "annotations of images that are not listed",
    "unknown_category": "objects of categories that are not listed",
    "bad_box": "boxes that are missing or not four finite numbers",
    "no_area": "boxes without area",
    "outside": "boxes outside their image",
    "too_many_objects": "images with more objects than slots",
    "folder": "folders and split files that are missing or empty",
    "nothing_learned": "data sets without a usable box",
    "empty_class": "classes without a usable box",
}

#: The corrections that reading makes by itself, with their headings in a report.
CHANGES = {
    "clipped": "boxes that stick out of their image, clipped to it",
    "exchanged": "boxes with swapped corners, put in order",
    "rotated": "rotated boxes, read as the upright box around them",
    "outlined": "objects without a box, read as the box around their mask, polygon or keypoints",
    "repeated": "boxes listed twice (the same image, class and box), read once",
    "ignore": 'objects with "ignore": 1, which COCO\'s metrics overlook: ordinary objects, unless '
    'they also have "ignored": 1 (regions to ignore) or "iscrowd": 1',
    "renumbered": "annotation ids used twice, renumbered",
    "converted": "ids written as another type, read as the only id that they can mean",
    "renamed": "file names read as the only file that they can mean",
}

# The advice at the end of most sentences, which is superfluous if it is already followed.
_ADVICE_TO_SKIP = re.compile(r",? or set config\.data\.on_error='skip' to ([^.]+)\.$")
# Kinds of problems that leave out an image rather than a box, if the advice does not say which.
_OF_IMAGES = (
    "missing_image",
    "unreadable_image",
    "image_size",
    "missing_annotation",
    "duplicate_image",
)


class DataError(UserError, ValueError):
    """An error in a file of the data set; the message is the sentence for the user.

    It has no state besides that sentence and its kind, so it can be sent from a worker process
    unchanged.

    Attributes:
      kind: a key of `KINDS`.
    """

    def __init__(self, sentence: str, kind: str) -> None:
        super().__init__(printable(sentence), kind)
        assert kind in KINDS, kind
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[0])


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem that left something out of a data set under `on_error='skip'`.

    Attributes:
      kind: a key of `KINDS`.
      sentence: what is wrong, with the file, the id and the way out.
      count: the number of boxes or images with the problem.
    """

    kind: str
    sentence: str
    count: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentence", printable(self.sentence))

    def __str__(self) -> str:
        """The sentence without the advice to set `on_error='skip'`, which is already set."""
        return _ADVICE_TO_SKIP.sub(".", self.sentence)

    @property
    def leaves_out(self) -> str:
        """The kind of thing that the problem leaves out: 'image', 'box', or '' for neither."""
        advice = _ADVICE_TO_SKIP.search(self.sentence)
        if advice is not None and "once" in advice[1]:
            return ""
        named = None if advice is None else re.search(r"\b(image|box|object)", advice[1])
        if named is not None:
            return "image" if named[1] == "image" else "box"
        return "image" if self.kind in _OF_IMAGES else "box"


class Problems:
    """Handling of problems while a data set is read: raises them, or notes them and continues.

    Args:
      on_error: 'raise' or 'skip'.

    Attributes:
      found: the problems noted so far.
      changes: the number of corrections of each kind of `CHANGES` so far.

    Raises:
      ValueError: `on_error` is neither 'raise' nor 'skip'.
    """

    def __init__(self, on_error: str) -> None:
        self._raises = check_on_error(on_error) == "raise"
        self.found: list[Problem] = []
        self.changes: collections.Counter[str] = collections.Counter()

    def add(self, kind: str, sentence: str, count: int = 1) -> None:
        """Raises `DataError` under 'raise'; notes a problem with `count` cases under 'skip'."""
        if self._raises:
            raise DataError(sentence, kind)
        self.found.append(Problem(kind, sentence, count))

    def note(self, change: str, count: int = 1) -> None:
        """Counts `count` corrections of a kind, which is a key of `CHANGES`."""
        assert change in CHANGES, change
        if count:
            self.changes[change] += int(count)

    def add_error(self, error: DataError) -> None:
        """Adds the problem of an error that was caught."""
        self.add(error.kind, str(error))


def check_on_error(on_error: str) -> str:
    """Returns `on_error` if it is valid.

    Raises:
      ValueError: `on_error` is neither 'raise' nor 'skip'.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error is {on_error!r} and must be 'raise' or 'skip'.")
    return on_error
