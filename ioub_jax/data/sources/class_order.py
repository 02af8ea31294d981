"""Conversion of a data set to the labels of a detector: classes are matched by name."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.example import Source
from ioub_jax.data.sources.file_source import AnnotatedImages
from ioub_jax.data.sources.unlearned import classes_flag

# At most this many classes are named in one sentence.
_MOST_TOLD = 10


def with_classes(
    source: Source,
    categories: Sequence[tuple[int | str, str]],
    title: str,
    classes_key: str | None = None,
) -> Source:
    """The same data set with the labels of a detector, whatever its own order and ids.

    A class keeps its id from the data set, so that detections can be compared with the data set's
    files. A class that the data set lacks gets the detector's id, or a new id if that one is taken.
    A class that the detector lacks is left out if it has no objects.

    Args:
      source: a data set.
      categories: the id and name of each label of the detector, or of its training data.
      title: name of the data set in error messages.
      classes_key: the option that restricts the data set to some classes, such as
        'config.data.coco.classes'; None if there is no such option.

    Returns:
      the data set itself if it has these classes in this order, else another view of it.

    Raises:
      DataError: the data set has objects of a class that the detector lacks.
    """
    names = tuple(name for _, name in categories)
    if tuple(source.classes) == names:
        return source
    labels = {name: label for label, name in enumerate(names)}
    new_labels = np.array([labels.get(name, -1) for name in source.classes], np.int64)
    if not isinstance(source, AnnotatedImages):  # drawn or computed images have fixed classes
        raise _unknown(dict.fromkeys(source.classes), names, (), title, classes_key)
    counts = dict(zip(source.classes, source.boxes_of_classes().tolist(), strict=True))
    if any(count for name, count in counts.items() if name not in labels):
        found = {name: count for name, count in counts.items() if count}
        raise _unknown(found, names, source.classes, title, classes_key)
    ids = dict(zip(source.classes, source.category_ids, strict=True))
    return source.with_labels(new_labels, names, _ids(categories, ids))


def _ids(categories: Sequence[tuple[int | str, str]], own: dict[str, int | str]) -> list[int | str]:
    """The data set's own id of each name; for other names, an id that none of its classes has."""
    # The ids '7' and 7 are the same.
    taken = {str(id_) for id_ in own.values()}
    texts = taken | {str(id_) for id_, _ in categories}
    free = max((int(text) for text in texts if text.isdecimal()), default=0) + 1
    ids: list[int | str] = []
    for id_, name in categories:
        if name not in own and str(id_) in taken:
            id_, free = free, free + 1
        ids.append(own.get(name, id_))
    return ids


def _unknown(
    counts: Mapping[str, int | None],
    names: Sequence[str],
    listed: Sequence[str],
    title: str,
    classes_key: str | None,
) -> DataError:
    """The error of a data set with boxes of classes that the detector lacks."""
    lacking = [name for name in names if name not in counts]
    told = []
    for name, count in counts.items():
        if name not in names:
            boxes = "" if count is None else f" ({count:,} {'box' if count == 1 else 'boxes'})"
            near = difflib.get_close_matches(name, lacking, 1)
            told.append(f"{name!r}{boxes}{f', perhaps meant as {near[0]!r}' if near else ''}")
    if len(told) > _MOST_TOLD:
        told[_MOST_TOLD:] = [f"and {len(told) - _MOST_TOLD:,} more"]
    way_out = "use data with the trained classes."
    # The flag names all classes of the training data, since it may be given to a training, too.
    # A file that lists none of these classes would refuse the flag.
    if classes_key is not None and any(name in listed for name in names):
        way_out = (
            f"correct their names, or set {classes_flag(classes_key, names)} to leave them out."
        )
    elif classes_key is not None:
        way_out = (
            f"correct their names, or use data of the classes {', '.join(names[:_MOST_TOLD])}."
        )
    return DataError(
        f"{title}: has objects of classes that the training data lacks: {'; '.join(told)}; "
        f"{way_out}",
        "unknown_category",
    )
