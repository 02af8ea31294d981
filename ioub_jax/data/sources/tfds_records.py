"""Opening of data sets prepared by TensorFlow Datasets (TFDS), without TensorFlow."""

import dataclasses
import importlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ioub_jax.data.checks import DataError


def find_folder(name: str, data_dir: str | pathlib.Path | None) -> pathlib.Path:
    """The folder of the newest prepared version of a data set."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = pathlib.Path(data_dir or default).expanduser()
    path, _, version = name.partition(":")
    prepared = [file.parent for file in (root / path).glob(f"{version or '*'}/features.json")]
    versions = [folder for folder in prepared if version_number(folder)]
    if versions:
        return max(versions, key=version_number)
    configs = sorted({file.parents[1].name for file in (root / path).glob("*/*/features.json")})
    if configs:
        raise DataError(
            f"{root / path}: holds the configs {', '.join(configs)}; name one in "
            f"config.data.tfds.name, such as {f'{path}/{configs[0]}'!r}.",
            "folder",
        )
    raise DataError(
        f"{root}: holds no prepared {name!r}; set config.data.tfds.data_dir to the folder with "
        "one, or prepare it (with tensorflow and importlib_resources installed) by `python -c "
        f'"import tensorflow_datasets as tfds; tfds.builder({name!r}, data_dir={str(root)!r}, '
        "file_format='array_record').download_and_prepare()\"`.",
        "folder",
    )


def version_number(folder: pathlib.Path) -> list[int]:
    """1.10.0 as [1, 10, 0], which is above [1, 9, 0]; other names are below all versions."""
    is_version = re.fullmatch(r"\d+\.\d+\.\d+", folder.name)
    return [int(part) for part in folder.name.split(".")] if is_version else []


class Records:
    """The records of a split; errors of TFDS while reading one become a `DataError`."""

    def __init__(self, records: Sequence[Mapping[str, Any]], folder: pathlib.Path) -> None:
        self._records = records
        self._folder = folder

    def __len__(self) -> int:
        """The number of records."""
        return len(self._records)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """The records in the order of their files."""
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> Mapping[str, Any]:
        """A record, with its image as encoded bytes; raises `DataError` if it cannot be read."""
        try:
            return self._records[position]
        # Neither TFDS nor ArrayRecord documents what it raises for a damaged file.
        except Exception as error:
            raise DataError(
                f"{self._folder}: record {position} cannot be read ({_first_line(error)}); "
                "copy the folder or prepare the data set again.",
                "unreadable_image",
            ) from error


@dataclasses.dataclass(frozen=True)
class OpenedSplit:
    """A split that can be read.

    Attributes:
      name: TFDS's full name of the data set, with config and version.
      records: the records of the split.
      objects: the features of an object.
      files: the files with the records.
    """

    name: str
    records: Records
    objects: Mapping[str, Any]
    files: list[pathlib.Path]


def open_split(folder: pathlib.Path, split: str) -> OpenedSplit:
    """Opens a split using the metadata in its folder, without the code that prepared it."""
    tfds = _import_tfds()
    try:
        # The builder of coco would import TensorFlow; the metadata in the folder is sufficient.
        builder = tfds.builder_from_directory(str(folder))
    # TFDS does not document what it raises for damaged metadata.
    except Exception as error:
        raise DataError(
            f"{folder}: is not a data set that TFDS can open ({_first_line(error)}); copy the "
            "folder or prepare the data set again.",
            "folder",
        ) from error
    objects = _check_features(builder.info.features, folder, tfds)
    formats = sorted(form.value for form in builder.info.available_file_formats())
    if "array_record" not in formats:
        raise DataError(
            f"{folder}: is prepared as {' and '.join(formats)}, which cannot be read by random "
            f"access; convert it with `tfds convert_format --dataset_version_dir={folder} "
            "--out_file_format=array_record` (which needs tensorflow, apache-beam and "
            "mlcroissant), or prepare it again with file_format='array_record'.",
            "folder",
        )
    decoders = {"image": tfds.decode.SkipDecoding()}
    try:
        records = builder.as_data_source(split, decoders=decoders, file_format="array_record")
        files = [pathlib.Path(path) for path in builder.info.splits[split].filepaths]
    except ValueError as error:
        raise DataError(
            f"{folder}: has no split {split!r}; set config.data.tfds.*_split to one of "
            f"{sorted(builder.info.splits)}.",
            "folder",
        ) from error
    return OpenedSplit(builder.info.full_name, Records(records, folder), objects, files)


def _import_tfds() -> Any:
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise DataError(
            "config.data.source is 'tfds' but tensorflow_datasets is not installed; "
            "install it with pip install 'ioub_jax[tfds]'.",
            "folder",
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _check_features(features: Any, folder: pathlib.Path, tfds: Any) -> Mapping[str, Any]:
    """The features of an object; raises `DataError` if features needed here are not suitable."""
    top = dict(features.items())
    objects = top.get("objects")
    is_sequence = isinstance(objects, tfds.features.Sequence)
    inner = getattr(objects, "feature", None) if is_sequence else None
    each = dict(inner.items()) if isinstance(inner, tfds.features.FeaturesDict) else {}
    box = each.get("bbox")
    # Old versions of TFDS had a single box format and did not record it.
    box_format = getattr(getattr(box, "bbox_format", None), "value", "REL_YXYX")
    label = each.get("label")
    fault = None
    if not isinstance(top.get("image"), tfds.features.Image):
        fault = "no feature 'image' that is an image"
    elif not isinstance(box, tfds.features.BBoxFeature):
        fault = "no feature 'objects/bbox' that is a sequence of boxes"
    elif box_format != "REL_YXYX":
        fault = f"boxes in the format {box_format} instead of TFDS's usual REL_YXYX"
    elif label is not None and not isinstance(label, tfds.features.ClassLabel):
        fault = "a feature 'objects/label' that is not a class label"
    if fault is not None:
        names = ", ".join([*top, *(f"objects/{name}" for name in each)])
        raise DataError(
            f"{folder}: has {fault} (its features: {names}); choose a data set for detection in "
            "config.data.tfds.name.",
            "broken_annotation",
        )
    return each
