"""Writing of detections in many images: image by image, and as COCO's JSON at the end."""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ioub_jax import files
from ioub_jax.inference import Detections

#: The files of detections: that of finished and that of interrupted commands.
NAMES = ("predictions.json", "predictions.jsonl")


class PredictionFiles:
    """The file `predictions.jsonl`, which grows by a line per image, and then `predictions.json`.

    The first line of `predictions.jsonl` has the `categories` and `made_by`, which is what the
    results depend on. Each other line has an `image` (`id`, `file_name`, `width`, `height`) and its
    `annotations`. The file is removed once `predictions.json` has all of its contents.

    If the folder has the `predictions.jsonl` of an interrupted command with the same `made_by`, its
    images are taken over; with another `made_by`, it is kept as `predictions.1.jsonl`, `.2.` and so
    on.

    Args:
      folder: the folder for the files; created if needed.
      names: the image files; the image at position i has the id i + 1.
      category_ids: the id of each label.
      classes: the name of each label.
      made_by: what the results depend on: the weights, the lowest score.

    Attributes:
      records: the lines of the finished images, by position; frames of videos come after all
        images.
      kept: the file to which another command's lines were moved, or None.
      names: the name of each image; that of a frame is `VIDEO_NUMBER.png`.
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
        """Takes over an interrupted command's results except the last, which may not be drawn."""
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
        """Writes the detections of an image immediately, so that no later failure loses them."""
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
        """Writes the detections of a frame, which gets the next free position.

        The `image` of a frame also has the keys `video`, `frame` (from 0) and `seconds`. Frames are
        not taken over from an interrupted command, since a video has to be drawn from the
        beginning.

        Args:
          name: the frame's file, or that of the video.
          video: the video, or the folder with its frames.
          number: the number of the frame, from 0.
          seconds: time of the frame from the beginning of the video.
          detections: the detections in the frame.
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
                "image_id": 0,  # set by `_record`
                "category_id": self._category_ids[label],
                "bbox": box,
                "area": round(box[2] * box[3], 2),
                "iscrowd": 0,
                "score": round(float(score), 5),
            }

    def finish(self) -> int:
        """Writes `predictions.json` in COCO's format and removes `predictions.jsonl`.

        Its `annotations` can be passed to pycocotools' `loadRes`. Boxes are [x, y, width, height]
        in pixels.

        Returns:
          the number of detections in the file.
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
        """Closes the file; may be called repeatedly."""
        self._file.close()


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a `predictions.jsonl`, without a last line that is incomplete."""
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
