"""COCO's JSON as a whole: reading it, knowing what it is instead, and its categories."""

import json
import pathlib
import re
import reprlib
from collections.abc import Sequence
from typing import Any

from ioub_jax.coco_values import id_of, is_text
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco_document import without_segmentation

# A key that only another format has, in the file or in its first entry, and what it is.
_OTHER_FORMATS = {
    "imagePath": "a labelme file of one image",
    "imgHeight": "a Cityscapes file of one image",
    "_via_img_metadata": "a project of the VGG Image Annotator",
    "regions": "annotations of the VGG Image Annotator",
    "caption": "a captions file",
    "segments_info": "a panoptic file",
    "score": "a results file",
    "lead_time": "Label Studio's JSON-MIN; export as COCO there",
    "annotation_id": "Label Studio's JSON-MIN; export as COCO there",
    "completions": "Label Studio's JSON; export as COCO there",
    "predictions": "Label Studio's JSON; export as COCO there",
    "dm_format_version": "datumaro's JSON; export as COCO there",
    "media_type": "datumaro's JSON; export as COCO there",
    "videoName": "a BDD100K file",
    "Labeled Data": "Labelbox's JSON",
    "data_row": "Labelbox's JSON",
    "asset": "a VoTT file",
    "assets": "a VoTT file",
    "objects": "a Supervisely file of one image",
    "instances": "a SuperAnnotate file of one image",
    "slots": "a Darwin file of one image",
    "names": "a YOLO data set's; see docs/how-to/add-a-data-source.md",
    "image": "a CreateML file",
}
_OTHER_FILES = {
    ".yaml": "YOLO's (its description of a data set); see docs/how-to/add-a-data-source.md",
    ".yml": "YOLO's (its description of a data set); see docs/how-to/add-a-data-source.md",
    ".txt": "text, as YOLO's boxes are; see docs/how-to/add-a-data-source.md",
    ".csv": "a table; see docs/how-to/add-a-data-source.md",
    ".xml": "XML, as PASCAL VOC's annotations are; see config.data.source='voc'",
    ".zip": "an archive; unpack it",
    ".gz": "an archive; unpack it",
}


class Keys:
    """How sentences name the keys of the configuration.

    Args:
      split: 'train', 'val' or 'test', or '*' where it is not known.
    """

    def __init__(self, split: str) -> None:
        self.images = f"config.data.coco.{split}_images"
        self.check_file = f"set config.data.coco.{split}_annotations to an instances JSON."
        self.check_root = "check config.data.coco.root, or"
        self.check_folder = f"set {self.images} to the folder of the images"


def load_json(path: pathlib.Path, keys: Keys) -> Any:
    """The content of the file, whatever it is.

    Raises:
      DataError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes(), object_hook=without_segmentation)
    except OSError as error:
        several = re.search(r"[,*?]", path.name)
        advice = "name several files one by one," if several else keys.check_root
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); {advice} {keys.check_file}",
            "missing_annotation",
        ) from error
    except (ValueError, RecursionError) as error:
        fault = f"is empty, cut off or no JSON ({error}); copy or download it again"
        if other := _OTHER_FILES.get(path.suffix.lower()):
            fault = f"is no COCO instances file, it looks like {other}"
        raise DataError(f"{path}: {fault}, or {keys.check_file}", "broken_annotation") from error


def check_format(content: object, path: pathlib.Path, keys: Keys) -> None:
    """Raises `DataError` unless the content has the lists of an instances file, and images.

    Args:
      content: that of the file; of its lists the first entry will do.
      path: the file.
      keys: how sentences name the keys of the configuration.
    """
    known = _first_keys(content)
    fault = None
    if not isinstance(content, dict):
        fault = f"it holds a {type(content).__name__} instead of an object"
    elif lacking := [key for key in ("images", "categories") if key not in content]:
        listed = ", ".join(reprlib.repr(key) for key in list(content)[:9]) or "none"
        fault = f"it lacks {' and '.join(map(repr, lacking))} (its keys: {listed})"
    elif wrong := [
        key
        for key in ("images", "categories", "annotations")
        if not isinstance(content.get(key, []), list)
    ]:
        fault = f"its {wrong[0]!r} is no list"
    elif "segments_info" in known:
        fault = "its annotations have no boxes"
    if fault is not None:
        hints = [f", it looks like {name}" for key, name in _OTHER_FORMATS.items() if key in known]
        raise DataError(
            f"{path}: is no COCO instances file, {fault}{''.join(hints[:1])}; {keys.check_file}",
            "broken_annotation",
        )
    assert isinstance(content, dict)
    if not content["images"]:
        raise DataError(f"{path}: lists no images; {keys.check_file}", "folder")


def _first_keys(content: object) -> set[str]:
    """The keys of the file, and of its first annotation or, elsewhere, its first entry."""
    entries = content
    if isinstance(content, dict):
        entries = content.get("annotations") or list(content.values())
    first = entries[0] if isinstance(entries, list) and entries else None
    return {key for part in (content, first) if isinstance(part, dict) for key in part}


def read_categories(entries: list, path: pathlib.Path, keys: Keys) -> dict[str, int | str]:
    """The id of each category by its name, as it is written, sorted by what it means.

    A float such as 1.0 is the integer; a string stays one.

    Raises:
      DataError: a category has no name or no id, or those of another one.
    """
    ids: dict[str, int | str] = {}
    owners: dict[int | str, str] = {}
    for number, entry in enumerate(entries, start=1):
        fields = entry if isinstance(entry, dict) else {}
        name, written = fields.get("name"), fields.get("id")
        identity = id_of(written)
        if is_text(name) and identity is not None:
            if name not in ids and identity not in owners:
                ids[name] = written if isinstance(written, str) else identity
                owners[identity] = name
                continue
            fault = "has the id or name of another one; give each its own"
        else:
            fault = (
                "needs an 'id' (an integer) and a 'name' (of letters that can be shown); add them"
            )
        raise DataError(
            f"{path}: category number {number} ({reprlib.repr(entry)}) {fault}, or "
            f"{keys.check_file}",
            "broken_annotation",
        )
    if not ids:
        raise DataError(f"{path}: lists no categories; {keys.check_file}", "broken_annotation")
    sorted_ids = sorted(owners, key=lambda identity: (isinstance(identity, str), identity))
    return {owners[identity]: ids[owners[identity]] for identity in sorted_ids}


def choose_categories(
    categories: dict[str, int | str], classes: Sequence[str] | None, path: pathlib.Path
) -> dict[str, int | str]:
    """The categories that `classes` names, in that order; all where it names none.

    Raises:
      DataError: it names one twice, or one that the file does not have.
    """
    chosen: dict[str, int | str] = {}
    for name in classes or categories:
        if name not in categories or name in chosen:
            fault = "twice" if name in chosen else "which is no category of the file"
            raise DataError(
                f"{path}: config.data.coco.classes names {name!r}, {fault}; choose each once from "
                f"{', '.join(categories)}.",
                "unknown_category",
            )
        chosen[name] = categories[name]
    return chosen
