"""Faults of annotations in COCO's JSON, in words."""

import reprlib

from ioub_jax.coco_outlines import box_around, has_no_box

_SKIP_BOX = "or set config.data.on_error='skip' to ignore the region of the box."
_SKIP_ENTRY = "or set config.data.on_error='skip' to leave it out."

#: The kind of problem for faults whose name is not itself a kind.
KINDS = {"no_object": "broken_annotation", "bad_value": "broken_annotation"}


def explain(
    fault: str, written: object, number: int, image: tuple[str, int, int] | None, of_value: str
) -> str:
    """Explains the fault of an annotation and the way out, as the rest of a sentence.

    Args:
      fault: a kind of problem, or a key of `KINDS`.
      written: the annotation as written.
      number: place of the annotation in the file, from 1.
      image: the name, height and width of its image; None if it has no image.
      of_value: for the fault 'bad_value', what is wrong with the value.

    Returns:
      the part of the sentence after the path of the file.
    """
    entry = written if isinstance(written, dict) else {}
    identity, owner, category, box = (
        reprlib.repr(entry.get(key)) for key in ("id", "image_id", "category_id", "bbox")
    )
    which = f"annotation {identity if 'id' in entry else f'number {number}'}"
    if image is not None:
        name, height, width = image
        which += f" (of image {owner}, {name!r}, {width}x{height})"
    has = [key for key in ("segmentation", "keypoints") if entry.get(key)]
    boxed = f"the bbox {box}"
    if has_no_box(entry.get("bbox")) and (around := box_around(entry)) is not None:
        boxed = f"no bbox, and around its {' and '.join(has)} {around}"
    told = {
        "no_object": f"annotation number {number} is not an object; repair or delete it",
        "unknown_image": f"{which} belongs to image {owner}, which is not listed; list it",
        "unknown_category": f"{which} has the category {category}, which is not listed; list it",
        "bad_box": f"{which} has the bbox {box}, not four finite numbers; correct or delete it",
        "no_area": f"{which} has {boxed}, which has no area; correct or delete it",
        "outside": f"{which} has {boxed}, all of it outside its image; correct or delete it",
        "bad_value": f"{which} {of_value}; correct or remove it",
    }[fault]
    for missing, key in (("unknown_image", "image_id"), ("unknown_category", "category_id")):
        if fault == missing and entry.get(key) in (None, ""):
            told = f"{which} has no {key} ({'null' if key in entry else 'missing'}); give it one"
    if fault == "bad_box" and has_no_box(entry.get("bbox")) and not has:
        # labelme2coco writes [] for lines, which do not become polygons.
        told = (
            f"{which} has the bbox {box} and no segmentation or keypoints to make one of; give it "
            "a box or delete it"
        )
    if fault == "bad_box" and has_no_box(entry.get("bbox")) and has:
        told = (
            f"{which} has no bbox, and none can be computed from its {' and '.join(has)}, which "
            f"{'is' if has == ['segmentation'] else 'are'} neither polygons nor a run-length "
            "encoded mask of the size it gives nor labeled keypoints; correct or delete it"
        )
    return f"{told}, {_SKIP_ENTRY if image is None else _SKIP_BOX}"
