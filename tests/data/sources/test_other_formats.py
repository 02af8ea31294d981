"""Files of other tools, given where COCO's JSON should be: each is named, with what converts it."""

import json

import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco import CocoSource

LACKS = "it lacks 'images' and 'categories' (its keys: {})"
LIST = "it contains a list instead of an object"
DATUMARO = (
    "convert its folder with datumaro 1.13.12: datumaro.Dataset.import_from(FOLDER, '{}')"
    ".export(OUTPUT, 'coco_instances')"
)
VIA = (
    "in VIA 2 choose Annotation, Export Annotations (COCO format), or convert it with globox 2.9.0:"
    " globox convert FILE coco.json -f via-json -d IMAGES -F coco -A (rectangles whose attribute is"
    " label_id)"
)
LABEL_STUDIO = (
    "export as COCO there, or with label-studio-sdk 2.1.2: label-studio-converter export -i FILE "
    "-c LABELING_CONFIG.xml -o OUTPUT -f COCO"
)
SCALABEL = "convert it with scalabel 0.3.1: python -m scalabel.label.to_coco -i FILE -o coco.json"
SUPERVISELY = (
    "convert its project with supervisely 6.74.51: supervisely.convert.to_coco(FOLDER, OUTPUT)"
)
HOW_TO = "see docs/how-to/add-a-data-source.md"
# The name of the file, what is in it, and the sentence without its beginning and its end.
FORMATS = {
    "labelme": (
        "a.json",
        {"version": "5.4.1", "shapes": [], "imagePath": "a.jpg"},
        LACKS.format("'version', 'shapes', 'imagePath'")
        + ", it looks like a labelme file of one image; convert its folder with labelme2coco 0.2.6:"
        " labelme2coco FOLDER OUTPUT",
    ),
    "VIA 2, a project": (
        "via_project.json",
        {"_via_settings": {}, "_via_img_metadata": {}},
        LACKS.format("'_via_settings', '_via_img_metadata'")
        + f", it looks like a project of the VGG Image Annotator; {VIA}",
    ),
    "VIA 2, a list": (
        "via.json",
        [{"filename": "a.jpg", "size": 9, "regions": []}],
        f"{LIST}, it looks like annotations of the VGG Image Annotator; {VIA}",
    ),
    "VIA 3": (
        "via3.json",
        {"project": {}, "metadata": {}, "view": {}},
        LACKS.format("'project', 'metadata', 'view'")
        + f", it looks like a project of the VGG Image Annotator 3; {HOW_TO}",
    ),
    "VIA 2, a table": (
        "via.csv",
        "filename,file_size,file_attributes,region_count,region_id\n",
        f"it looks like annotations of the VGG Image Annotator; {VIA}",
    ),
    "Label Studio": (
        "ls.json",
        [{"id": 1, "annotations": [], "data": {"image": "a.jpg"}}],
        f"{LIST}, it looks like Label Studio's JSON; {LABEL_STUDIO}",
    ),
    "Label Studio's JSON-MIN": (
        "min.json",
        [{"image": "/data/a.jpg", "id": 1, "annotation_id": 2}],
        f"{LIST}, it looks like Label Studio's JSON-MIN; export as COCO there",
    ),
    "datumaro": (
        "default.json",
        {"dm_format_version": "1.0", "items": []},
        LACKS.format("'dm_format_version', 'items'")
        + f", it looks like datumaro's JSON; {DATUMARO.format('datumaro')}",
    ),
    "VoTT": (
        "vott-json-export.json",
        {"name": "x", "assets": {}},
        LACKS.format("'name', 'assets'")
        + f", it looks like a VoTT file; {DATUMARO.format('vott_json')}",
    ),
    "BDD100K": (
        "det_train.json",
        [{"name": "a.jpg", "attributes": {}, "timestamp": 1, "labels": []}],
        f"{LIST}, it looks like a BDD100K file; {SCALABEL}",
    ),
    "Supervisely": (
        "a.jpg.json",
        {"description": "", "size": {}, "objects": []},
        LACKS.format("'description', 'size', 'objects'")
        + f", it looks like a Supervisely file of one image; {SUPERVISELY}",
    ),
    "Supervisely's classes": (
        "meta.json",
        {"classes": [], "tags": []},
        LACKS.format("'classes', 'tags'")
        + f", it looks like the meta.json of Supervisely; {SUPERVISELY}",
    ),
    "SuperAnnotate": (
        "a.json",
        {"metadata": {}, "instances": []},
        LACKS.format("'metadata', 'instances'")
        + ", it looks like a SuperAnnotate file of one image; convert its folder with superannotate"
        " 4.6.2: superannotate.export_annotation(FOLDER, OUTPUT, 'COCO', NAME)",
    ),
    "Darwin": (
        "a.json",
        {"item": {"slots": []}, "slots": [], "version": "2.0"},
        LACKS.format("'item', 'slots', 'version'")
        + ", it looks like a Darwin file of one image; convert its folder with darwin-py 3.6.3: "
        "darwin convert coco FOLDER OUTPUT",
    ),
    "CreateML": (
        "a.json",
        [{"image": "a.jpg", "annotations": [{"label": "a", "coordinates": {}}]}],
        f"{LIST}, it looks like a CreateML file; open and save it in LabelImg as Pascal VOC, and "
        "set config.data.source='voc'",
    ),
    "Labelbox": (
        "export.json",
        [{"data_row": {}, "projects": {}}],
        f"{LIST}, it looks like Labelbox's JSON; {HOW_TO}",
    ),
    "CVAT": (
        "annotations.xml",
        '<?xml version="1.0"?>\n<annotations><image id="0"/></annotations>',
        "it looks like CVAT's XML; export as COCO there, or convert it with globox 2.9.0: globox "
        "convert FILE coco.json -f cvat -F coco -A",
    ),
    "VOC": (
        "a.xml",
        "<annotation/>",
        "it looks like XML, such as Pascal VOC's annotations; for those set "
        "config.data.source='voc'",
    ),
    "TensorFlow's table": (
        "train_labels.csv",
        "filename,width,height,class,xmin,ymin,xmax,ymax\n",
        f"it looks like a table of the TensorFlow object detection API; {HOW_TO}",
    ),
    "Open Images": (
        "boxes.csv",
        "ImageID,Source,LabelName,Confidence,XMin\n",
        f"it looks like a table of Open Images; {HOW_TO}",
    ),
    "Hugging Face": (
        "metadata.jsonl",
        '{"file_name": "a.jpg", "objects": {}}\n{"file_name": "b.jpg", "objects": {}}\n',
        f"it looks like JSON lines, such as Hugging Face's metadata; {HOW_TO}",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_another_format_is_named_with_what_converts_it(tmp_path, name):
    file, content, words = FORMATS[name]
    path = tmp_path / file
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError) as caught:
        CocoSource(path, tmp_path, split="train")
    assert str(caught.value) == (
        f"{path}: is not a COCO instances file, {words}, or set config.data.coco.train_annotations "
        "to an instances JSON."
    )
    assert caught.value.kind == "broken_annotation"
