"""Recognition of files in formats other than COCO's, and tools that convert them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

_HOW_TO = "see docs/how-to/add-a-data-source.md"
_YOLO = "--config.data.source=yolo reads it"
_DATUMARO = (
    "convert its folder with datumaro 1.13.12: "
    "datumaro.Dataset.import_from(FOLDER, '{}').export(OUTPUT, 'coco_instances')"
)
_GLOBOX = "convert it with globox 2.9.0: globox convert {} coco.json -f {} -F coco -A"


@dataclasses.dataclass(frozen=True)
class OtherFormat:
    """A format that cannot be read.

    Attributes:
      name: name of a file in this format, with an article.
      way_out: how to read the file or convert it to COCO's JSON; '' if there is no way.
    """

    name: str
    way_out: str = ""

    def hint(self, otherwise: str) -> str:
        """The end of a sentence about a file; `otherwise` says what else can be done."""
        told = f", it looks like {self.name}; "
        return told + (f"{self.way_out}, or {otherwise}" if self.way_out else otherwise)


_LABELME = OtherFormat(
    "a labelme file of one image",
    "convert its folder with labelme2coco 0.2.6: labelme2coco FOLDER OUTPUT",
)
_VIA2_WAY = (
    "in VIA 2 choose Annotation, Export Annotations (COCO format), or "
    + _GLOBOX.format("FILE", "via-json -d IMAGES")
    + " (rectangles whose attribute is label_id)"
)
_LABEL_STUDIO = (
    "export as COCO there, or with label-studio-sdk 2.1.2: "
    "label-studio-converter export -i FILE -c LABELING_CONFIG.xml -o OUTPUT -f COCO"
)
_VIA2 = OtherFormat("annotations of the VGG Image Annotator", _VIA2_WAY)
_SCALABEL = "convert it with scalabel 0.3.1: python -m scalabel.label.to_coco -i FILE -o coco.json"
_SUPERVISELY = (
    "convert its project with supervisely 6.74.51: supervisely.convert.to_coco(FOLDER, OUTPUT)"
)
#: COCO's own panoptic files, which lie beside the instances files.
PANOPTIC = OtherFormat("a panoptic file", "take the instances file beside it")
# Keys, each of which the file or its first entry must have, and the format that has them all. The
# first format that fits is taken.
_BY_KEYS: tuple[tuple[tuple[str, ...], OtherFormat], ...] = (
    (("imagePath",), _LABELME),
    (("shapes", "imageHeight"), _LABELME),
    (("imgHeight",), OtherFormat(
        "a Cityscapes file of one image", "set config.data.source='cityscapes'")),
    (("_via_img_metadata",), OtherFormat("a project of the VGG Image Annotator", _VIA2_WAY)),
    (("regions",), _VIA2),
    (("project", "metadata", "view"), OtherFormat(
        "a project of the VGG Image Annotator 3", _HOW_TO)),
    (("caption",), OtherFormat("a captions file")),
    (("segments_info",), PANOPTIC),
    (("score",), OtherFormat("a results file")),
    (("lead_time",), OtherFormat("Label Studio's JSON-MIN", "export as COCO there")),
    (("annotation_id",), OtherFormat("Label Studio's JSON-MIN", "export as COCO there")),
    (("completions",), OtherFormat("Label Studio's JSON", _LABEL_STUDIO)),
    (("predictions",), OtherFormat("Label Studio's JSON", _LABEL_STUDIO)),
    (("annotations", "data"), OtherFormat("Label Studio's JSON", _LABEL_STUDIO)),
    (("dm_format_version",), OtherFormat("datumaro's JSON", _DATUMARO.format("datumaro"))),
    (("media_type",), OtherFormat("datumaro's JSON", _DATUMARO.format("datumaro"))),
    (("videoName",), OtherFormat("a BDD100K file", _SCALABEL)),
    (("labels", "attributes", "timestamp"), OtherFormat("a BDD100K file", _SCALABEL)),
    (("Labeled Data",), OtherFormat("Labelbox's JSON", _HOW_TO)),
    (("data_row",), OtherFormat("Labelbox's JSON", _HOW_TO)),
    (("asset",), OtherFormat("a VoTT file", _DATUMARO.format("vott_json"))),
    (("assets",), OtherFormat("a VoTT file", _DATUMARO.format("vott_json"))),
    (("file_name", "objects"), OtherFormat("Hugging Face's metadata", _HOW_TO)),
    (("objects",), OtherFormat("a Supervisely file of one image", _SUPERVISELY)),
    (("classes", "tags"), OtherFormat("the meta.json of Supervisely", _SUPERVISELY)),
    (("instances",), OtherFormat(
        "a SuperAnnotate file of one image",
        "convert its folder with superannotate 4.6.2: superannotate.export_annotation(FOLDER, "
        "OUTPUT, 'COCO', NAME)")),
    (("slots",), OtherFormat(
        "a Darwin file of one image",
        "convert its folder with darwin-py 3.6.3: darwin convert coco FOLDER OUTPUT")),
    (("names",), OtherFormat("a YOLO data set's", _YOLO)),
    (("image",), OtherFormat(
        "a CreateML file",
        "open and save it in LabelImg as Pascal VOC, and set config.data.source='voc'")),
)  # fmt: skip

#: The format that CVAT calls "CVAT for images".
CVAT = OtherFormat("CVAT's XML", "export as COCO there, or " + _GLOBOX.format("FILE", "cvat"))
_BY_SUFFIX = {
    ".yaml": OtherFormat("YOLO's (its description of a data set)", _YOLO),
    ".yml": OtherFormat("YOLO's (its description of a data set)", _YOLO),
    ".txt": OtherFormat("text, such as YOLO's boxes", _YOLO),
    ".csv": OtherFormat("a table", _HOW_TO),
    ".parquet": OtherFormat("a table", _HOW_TO),
    ".jsonl": OtherFormat("JSON lines, such as Hugging Face's metadata", _HOW_TO),
    ".ndjson": OtherFormat("JSON lines, such as Labelbox's", _HOW_TO),
    ".tfrecord": OtherFormat("TensorFlow's records", "set config.data.source='tfds'"),
    ".mat": OtherFormat("MATLAB's data", _HOW_TO),
    ".xml": OtherFormat(
        "XML, such as Pascal VOC's annotations", "for those set config.data.source='voc'"
    ),
    ".zip": OtherFormat("an archive", "unpack it"),
    ".gz": OtherFormat("an archive", "unpack it"),
}
_TABLES = {
    "filename,file_size,file_attributes,region_count": _VIA2,
    "ImageID,Source,LabelName": OtherFormat("a table of Open Images", _HOW_TO),
    "filename,width,height,class,xmin": OtherFormat(
        "a table of the TensorFlow object detection API", _HOW_TO
    ),
}


def known_by_keys(content: object) -> OtherFormat | None:
    """The format of a JSON file, recognized by its keys and those of its first entry.

    Args:
      content: the parsed content of the file.

    Returns:
      the format; None if it is not recognized.
    """
    keys = _first_keys(content)
    return next((found for needed, found in _BY_KEYS if keys.issuperset(needed)), None)


def known_by_text(suffix: str, begin: bytes) -> OtherFormat | None:
    """The format of a file that is not JSON.

    Args:
      suffix: suffix of the file's name.
      begin: the first bytes of the file.

    Returns:
      the format; None if it is not recognized.
    """
    text = begin.decode("utf-8-sig", errors="replace")
    if suffix.lower() == ".xml" and "<annotations" in text:
        return OtherFormat(
            "CVAT's XML", "export as COCO there, or " + _GLOBOX.format("FILE", "cvat")
        )
    for columns, table in _TABLES.items():
        if text.startswith(columns):
            return table
    return _BY_SUFFIX.get(suffix.lower())


def _first_keys(content: object) -> set[str]:
    """The keys of the file, and of its first annotation or, in other formats, its first entry."""
    entries = content
    if isinstance(content, Mapping):
        entries = content.get("annotations") or list(content.values())
    first: Any = entries[0] if isinstance(entries, list) and entries else None
    return {key for part in (content, first) if isinstance(part, Mapping) for key in part}
