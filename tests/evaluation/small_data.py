"""Ground truth and detections by hand, in COCO's format."""


def annotation(image_id, box, category_id=1, **rest):
    return {"image_id": image_id, "category_id": category_id, "bbox": box, **rest}


def detection(image_id, box, score, category_id=1):
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def data_set(annotations, images=(1, 2), categories=("cell", "cat")):
    return {
        "images": [{"id": image_id} for image_id in images],
        "annotations": annotations,
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(categories)],
    }
