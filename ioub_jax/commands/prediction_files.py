"""Detections in many files: written image by image, and as COCO's JSON at the end."""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax import files
from ioub_jax.inference import Detections


class PredictionFiles:
    """`predictions.jsonl`, which grows by a line an image, and then `predictions.json`.

    The first line of `predictions.jsonl` has the `categories`, and what the results depend on,
    `made_by`. Each other one has an `image` (`id`, `file_name`, `width`, `height`) and its
    `annotations`. It is removed once `predictions.json` holds all of it.

    Where the folder has the `predictions.jsonl` of a command that was ended, its images are taken
    over if it was made by the same; else it is kept as `predictions.1.jsonl`, `.2.` and so on.

    Args:
      folder: where to; made if it is not there.
      names: the files to be looked at; image i + 1 is the i-th.
      category_ids: the id of each label.
      classes: the name of each label.
      made_by: what the results depend on: the weights, the lowest score.

    Attributes:
      records: the lines of the images done, by their position; frames of videos come after all
        images.
      kept: where another command's lines were put, or None.
      names: what each image is called, those of frames `VIDEO_NUMBER.png`.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        names: Sequence[str],
        category_ids: Sequence[int | str],
        classes: Sequence[str],
        made_by: Mapping[str, Any],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "predictions.jsonl"
        self.final = folder / "predictions.json"
        self.records: dict[int, dict[str, Any]] = {}
        self.kept: pathlib.Path | None = None
        self.names = list(names)
        self._category_ids = category_ids
        categories = [
            {"id": id_, "name": name} for id_, name in zip(category_ids, classes, strict=True)
        ]
        self._heading = {"categories": categories, "made_by": dict(made_by)}
        self._take_over()
        lines = [self._heading, *self.records.values()]
        files.write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = self.path.open("a", encoding="ascii")

    def _take_over(self) -> None:
        """Reads the results of an ended command except its last image, which may not be drawn."""
        found = read_lines(self.path)
        if not found:
            return
        heading, *lines = found
        if heading != json.loads(json.dumps(self._heading)):
            number = 1
            while (kept := self.path.with_name(f"predictions.{number}.jsonl")).exists():
                number += 1
            self.kept = self.path.rename(kept)
            return
        positions = {name: position for position, name in enumerate(self.names)}
        for line in lines[:-1]:
            position = positions.get(line["image"]["file_name"])
            if position is not None and "frame" not in line["image"]:
                self.records[position] = self._record(position, line["image"], line["annotations"])

    def _record(
        self, position: int, image: dict[str, Any], annotations: Iterable[dict[str, Any]]
    ) -> dict[str, Any]:
        identity = position + 1
        return {
            "image": image | {"id": identity},
            "annotations": [annotation | {"image_id": identity} for annotation in annotations],
        }

    def add(self, position: int, detections: Detections) -> None:
        """Writes the detections of an image at once, so that no later failure loses them."""
        self._write(position, self.names[position], detections, {})

    def _write(
        self, position: int, name: str, detections: Detections, more: Mapping[str, Any]
    ) -> None:
        height, width = detections.image_size
        image = {"id": position + 1, "file_name": name, "width": width, "height": height, **more}
        self.records[position] = self._record(position, image, self._annotations(detections))
        self._file.write(json.dumps(self.records[position]) + "\n")
        self._file.flush()

    def add_frame(
        self, name: str, video: pathlib.Path, number: int, seconds: float, detections: Detections
    ) -> None:
        """As `add`, for a frame, which has no position before it is read.

        An image of it has the keys `video`, `frame`, from 0, and `seconds`, too. Frames are not
        taken over from a command that was ended: its video has to be drawn from the beginning.

        Args:
          name: the frame's file, or that of the video.
          video: the video, or the folder with its frames.
          number: that of the frame.
          seconds: from the beginning of the video.
          detections: what was found in it.
        """
        position = len(self.names)
        self.names.append(f"{video.stem}_{number}.png")
        of_video = {"video": str(video), "frame": number, "seconds": round(seconds, 3)}
        self._write(position, name, detections, of_video)

    def _annotations(self, detections: Detections) -> Iterable[dict[str, Any]]:
        boxes = detections.boxes.astype(np.float64)
        corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        corners = np.round(corners, 2).tolist()
        for box, label, score in zip(corners, detections.labels, detections.scores, strict=True):
            yield {
                "image_id": 0,  # what it is, `_record` knows
                "category_id": self._category_ids[label],
                "bbox": box,
                "area": round(box[2] * box[3], 2),
                "iscrowd": 0,
                "score": round(float(score), 5),
            }

    def finish(self) -> int:
        """Writes `predictions.json` in COCO's format and removes the growing file.

        `annotations` is what pycocotools' `loadRes` takes. Boxes are [x, y, width, height] in
        pixels.

        Returns:
          How many detections it has.
        """
        self._file.close()
        records = [self.records[position] for position in sorted(self.records)]
        annotations = [annotation for record in records for annotation in record["annotations"]]
        content = {
            "images": [record["image"] for record in records],
            "annotations": [
                {"id": number, **annotation} for number, annotation in enumerate(annotations, 1)
            ],
            "categories": self._heading["categories"],
        }
        files.write_json(self.final, content, indent=1)
        self.path.unlink()
        return len(annotations)

    def close(self) -> None:
        """Stops writing; harmless when repeated."""
        self._file.close()


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines of a `predictions.jsonl`, without a last one that was cut off."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
