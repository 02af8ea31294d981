"""Detects objects in files, folders and globs: COCO-format JSON, and PNGs with the boxes.

ioub predict --model=runs/shapes images/ --output=found
ioub predict --model=retinanet_resnet50_fpn.pth 'photos/*.jpg' --output=found

`--model` is the workdir of a run, or one of torchvision's detectors, by file or by name. The exit
code is 1 if an image could not be read; the others are processed all the same. Detections are
written image by image, so run the same command again to resume. With `--yolo` they are also written
into labels/*.txt, as by Ultralytics' save_txt and save_conf.

Boxes are drawn if they have at least the score that was best for their class on the validation
images of the run, by F1, or .4 if that was not measured; `--score=best` applies the same scores to
the JSON.

`--tiles=640` detects in overlapping tiles of huge images and merges the detections; a run that was
trained on tiles detects in such tiles by default. `--flip` and `--scales=0.8,1,1.25` also detect in
the mirrored image and at other sizes.

For a video file, a video with the boxes is written, and the JSON has frame numbers; with
`--frames_per_second` the images of a folder are the frames of a video.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import tqdm
from absl import flags

from ioub_jax.commands import command_line, score_flags, view_flags

_MODEL = flags.DEFINE_string(
    "model", None, "Workdir of a run, or a file of torchvision's.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the results; created if it does not exist.", required=True
)
_CHECKPOINT, _EMA = command_line.define_weights()
_CHANGES = command_line.define_changes("model")
_SCORE = score_flags.define(
    "score", 0.05, "Lowest score in the JSON; 'best': the measured one of each class."
)
_DRAWN = score_flags.define(
    "drawn_score",
    None,
    "Lowest score of a box to draw; unset: 'best', if it was measured, or .4.",
)
_DRAW = flags.DEFINE_bool("draw", True, "Whether to draw PNGs.")
_YOLO = flags.DEFINE_bool("yolo", False, "Whether to write label files in YOLO's format, too.")
_TILES = flags.DEFINE_integer(
    "tiles", None, "Side of tiles in pixels; 0: whole images; unset: as in training.", 0
)
_OVERLAP = flags.DEFINE_float(
    "overlap", None, "Share of a side that neighboring tiles have in common.", 0.0, 0.9
)
view_flags.define()
_FRAMES = flags.DEFINE_float(
    "frames_per_second",
    None,
    "Frames per second of folders that hold the frames of videos.",
    0.1,
    1000.0,
)
_BATCH = flags.DEFINE_integer("batch_size", None, "Number of images in a batch.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 4, "Threads that read images.", lower_bound=1)

if __name__ == "__main__":
    command_line.parse_flags()

import numpy as np

import ioub_jax
from ioub_jax import files, inference
from ioub_jax.commands import footage, image_arguments, label_files, prediction_files, preview
from ioub_jax.commands.footage import Footage
from ioub_jax.data.checks import DataError
from ioub_jax.data.tiling import Tiling
from ioub_jax.detections import Detections
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import checkpoint_folders, configuration, score_thresholds
from ioub_jax.workdirs.score_thresholds import MeasuredThresholds


def main(*arguments: str) -> None:
    """Detects in the images and videos, writes the detections and draws them."""
    out = pathlib.Path(_OUTPUT.value)
    paths, videos = image_arguments.existing(arguments, _FRAMES.value, out)
    check_targets(arguments, paths, videos, out)
    files.check_can_write(out)
    detector = ioub_jax.load(
        _MODEL.value,
        checkpoint=_CHECKPOINT.value,
        ema=_EMA.value,
        batch_size=_BATCH.value,
        changes=_CHANGES.value,
        views=view_flags.views(),
    )
    tiling = tiling_of(detector)
    scores = LeastScores.of(detector)
    results = prediction_files.PredictionFiles(
        out,
        [str(path) for path in paths],
        detector.category_ids,
        detector.classes,
        made_by() | scores.made_by(),
    )
    if results.kept is not None:
        print(f"The results of another command are kept as {results.kept}.", file=sys.stderr)
    if results.records:
        print(f"{len(results.records)} images were done before.", file=sys.stderr)
    with contextlib.closing(results):
        try:
            problems = detect(detector, paths, results, scores, tiling)
            of_videos = detect_in_videos(detector, videos, results, scores, tiling)
        except BaseException:
            print(
                f"{len(results.records)} images are in {results.path}; run the same command to "
                "resume.",
                file=sys.stderr,
            )
            raise
        if _YOLO.value:
            label_files.write_records(
                out, results.names, results.records, detector.category_ids, detector.classes
            )
        images, found = len(results.records), results.finish()
    print(f"{found} detections in {images} images: {results.final}.")
    print(describe_scores(detector.measured))
    if detector.reading.exif == "ignore" and (told := image_arguments.orientations(paths)):
        print(told)
    for problem in [*(problems[index] for index in sorted(problems)), *of_videos]:
        print(f"Not read: {problem}", file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} of {len(paths)} images could not be read.")
    if of_videos:
        sys.exit(f"Some of {len(videos)} videos could not be read or drawn completely.")


@dataclasses.dataclass(frozen=True)
class LeastScores:
    """Lowest scores of written and of drawn detections, for all classes or for each class."""

    written: float | np.ndarray
    drawn: float | np.ndarray

    @classmethod
    def of(cls, detector: inference.ObjectDetector) -> "LeastScores":
        """The scores that the flags set.

        Raises:
          ConfigError: the best scores are asked for, but were not measured.
        """
        drawn = score_flags.drawn(_DRAWN.value, is_measured=detector.measured is not None)
        return cls(detector.least_scores(_SCORE.value), detector.least_scores(drawn))

    def made_by(self) -> dict[str, Any]:
        """The lowest scores as parameters of the results, if each class has its own."""
        if isinstance(self.written, float):
            return {}
        return {"score_by_class": self.written.tolist()}


def describe_scores(measured: MeasuredThresholds | None) -> str:
    """A sentence on the lowest scores of written and of drawn detections."""
    drawn = score_flags.drawn(_DRAWN.value, is_measured=measured is not None)
    sentence = (
        f"The JSON has detections with at least {score_flags.describe(_SCORE.value, measured)}"
    )
    if _DRAW.value:
        if drawn == _SCORE.value:
            sentence += ", and so have the pictures"
        else:
            sentence += f", the pictures {score_flags.describe(drawn, measured)}"
    return f"{sentence}."


def made_by() -> dict[str, Any]:
    """Parameters of the results; a command with the same parameters resumes from this one."""
    found = checkpoint_folders.find(files.path_of(_MODEL.value), _CHECKPOINT.value)
    return {
        "model": _MODEL.value,
        "checkpoint": _CHECKPOINT.value,
        "step": found[0].step if found else None,
        "ema": _EMA.value,
        "score": _SCORE.value,
        "changes": dict(_CHANGES.value or {}),
        **{flag.name: flag.value for flag in (_TILES, _OVERLAP) if flag.value is not None},
        **view_flags.made_by(),
    }


def tiling_of(detector: inference.ObjectDetector) -> Tiling | int | None:
    """The tiles that the flags ask for, in the form that `ObjectDetector.stream` takes.

    Raises:
      ConfigError: such tiles are not possible, or an overlap is given without tiles.
    """
    tiling = detector.tiling_for(_TILES.value)
    if _OVERLAP.value is None:
        return 0 if tiling is None else tiling
    if tiling is None:
        raise ConfigError("--overlap is for tiles; give their side, such as --tiles=640.")
    return dataclasses.replace(tiling, overlap=_OVERLAP.value)


def detect(
    detector: inference.ObjectDetector,
    paths: Sequence[pathlib.Path],
    results: prediction_files.PredictionFiles,
    scores: LeastScores,
    tiles: Tiling | int | None = None,
) -> dict[int, str]:
    """Runs detection in every file that is not done yet; writes each result, then draws it.

    Args:
      detector: the detector.
      paths: all files.
      results: the previous results, and the files to which detections are written.
      scores: the lowest scores of detections that are written and drawn.
      tiles: the tiles, as for `ObjectDetector.stream`.

    Returns:
      the reasons why files could not be read, by position.
    """
    names = picture_names(paths)
    problems: dict[int, str] = {}
    left = [position for position in range(len(paths)) if position not in results.records]
    for number, detections in progress(detector, [paths[position] for position in left], tiles):
        position = left[number]
        if isinstance(detections, DataError):
            problems[position] = str(detections)
            continue
        found = detections.above(scores.written)
        results.add(position, found)
        if _DRAW.value:
            target = pathlib.Path(_OUTPUT.value) / names[position]
            try:
                draw(found.above(scores.drawn), target)
            except DataError as error:  # such as a file that has changed since it was read
                problems[position] = f"{error} (its detections are written, its picture is not)"
    return problems


def detect_in_videos(
    detector: inference.ObjectDetector,
    videos: Sequence[Footage],
    results: prediction_files.PredictionFiles,
    scores: LeastScores,
    tiles: Tiling | int | None,
) -> list[str]:
    """Runs detection in every frame of every video; returns sentences on what failed."""

    def picture(found: Detections) -> np.ndarray:
        return np.asarray(found.above(scores.drawn).draw())

    problems = []
    for video, target in zip(videos, video_targets(videos), strict=True):
        try:
            problems += footage.detect(
                detector,
                video,
                results,
                score=scores.written,
                draw=picture if _DRAW.value else None,
                target=target,
                threads=_THREADS.value,
                tiles=tiles,
            )
        except DataError as error:
            problems.append(str(error))
    return problems


def video_targets(videos: Sequence[Footage]) -> list[pathlib.Path]:
    """The path of the annotated video of each video, all distinct."""
    stems = label_files.distinct_stems(f"{video.path.stem}.mp4" for video in videos)
    return [
        pathlib.Path(_OUTPUT.value) / f"{stem}{video.picture_suffix}"
        for stem, video in zip(stems, videos, strict=True)
    ]


def check_targets(
    arguments: Sequence[str],
    paths: Sequence[pathlib.Path],
    videos: Sequence[Footage],
    out: pathlib.Path,
) -> None:
    """Refuses a folder for the results in which files of the user would be replaced.

    Args:
      arguments: the files, folders and globs in which detection runs.
      paths: all images.
      videos: all videos.
      out: the folder for the results.

    Raises:
      ConfigError: a picture, video or label file would replace an input or a file that an earlier
        command has not written, or the pictures would be among the images of the next command.
    """
    if any(os.path.isdir(a) and os.path.abspath(a) == os.path.abspath(out) for a in arguments):
        raise ConfigError(
            f"--output={out} is a folder of the images, and the next command would take the "
            "pictures for images; give another folder, such as one in it."
        )
    targets = [out / name for name in picture_names(paths)] + video_targets(videos)
    targets = targets if _DRAW.value else []
    if _YOLO.value:
        stems = label_files.distinct_stems(map(str, paths))
        targets += [out / "labels" / f"{stem}.txt" for stem in stems]
        targets += [out / "data.yaml", out / "classes.txt"]
    inputs = {os.path.realpath(path) for path in (*paths, *(video.path for video in videos))}
    is_continued = any((out / name).exists() for name in prediction_files.NAMES)
    for target in targets:
        if os.path.lexists(target) and (not is_continued or os.path.realpath(target) in inputs):
            raise ConfigError(
                f"{target} exists and was not written by this command, which would replace it; "
                "give another folder as --output."
            )


def exif_of_model() -> str:
    """The value of `data.exif` with which the detector is used."""
    model, changes = files.path_of(_MODEL.value), _CHANGES.value or {}
    trained = configuration.read_workdir(model).data.get("exif") if model.is_dir() else None
    return changes.get("data.exif") or trained or "ignore"


def progress(
    detector: inference.ObjectDetector,
    paths: Sequence[pathlib.Path],
    tiles: Tiling | int | None = None,
) -> Iterator[tuple[int, Detections | DataError]]:
    """Yields the position of each file with its detections, under a progress bar."""
    with tqdm.tqdm(total=len(paths), unit="image", disable=None, dynamic_ncols=True) as bar:
        for item in detector.stream(paths, threads=_THREADS.value, tiles=tiles):
            yield item
            bar.update()


def picture_names(paths: Sequence[pathlib.Path]) -> list[str]:
    """A file name for the picture of each image, all distinct."""
    return [f"{stem}.png" for stem in label_files.distinct_stems(map(str, paths))]


def draw(detections: Detections, target: pathlib.Path) -> None:
    """Writes one picture."""
    content = io.BytesIO()
    detections.draw().save(content, "PNG")
    files.write_bytes(target, content.getvalue())


def dry_run(*arguments: str) -> Sequence[str]:
    """Lines that say in which images detection would run, and with which detector."""
    out = pathlib.Path(_OUTPUT.value)
    paths, videos = image_arguments.existing(arguments, _FRAMES.value, out)
    check_targets(arguments, paths, videos, out)
    lines = preview.preview_inference(
        _MODEL.value,
        _CHECKPOINT.value,
        ema=_EMA.value,
        changes=_CHANGES.value,
        views=view_flags.views(),
    )
    files.check_can_write(out)
    missing = [path for path in (*paths, *(v.path for v in videos)) if not path.exists()]
    if missing:
        raise DataError(f"{missing[0]} does not exist; leave it out.", "missing_image")
    pictures = f" and {len(paths)} pictures" if _DRAW.value and paths else ""
    if _DRAW.value and videos:
        pictures += f" and {', '.join(path.name for path in video_targets(videos))}"
    labels = ", data.yaml, classes.txt, labels/" if _YOLO.value else ""
    applied = exif_of_model() == "apply"
    told = [] if applied else filter(None, [image_arguments.orientations(paths)])
    return [
        *lines,
        *([f"Images: {len(paths)}, the first {paths[0]}."] if paths else []),
        *([f"Videos: {len(videos)}, the first {videos[0].path}."] if videos else []),
        *_described_tiles(),
        describe_scores(measured_thresholds()),
        *told,
        f"Files: predictions.json{labels}{pictures} in {out}.",
    ]


def measured_thresholds() -> MeasuredThresholds | None:
    """The measured thresholds of the detector, without loading it.

    Raises:
      ConfigError: the best scores are asked for, but were not measured.
    """
    wanted = score_flags.BEST in (_SCORE.value, _DRAWN.value)
    model = files.path_of(_MODEL.value)
    if not model.is_dir():
        if wanted:
            raise ConfigError(
                f"{_MODEL.value} is not a workdir, which would have the measured best scores; give "
                "numbers as --score and --drawn_score."
            )
        return None
    read = score_thresholds.read_required if wanted else score_thresholds.read
    return read(model, _CHECKPOINT.value, ema=_EMA.value)


def _described_tiles() -> Sequence[str]:
    """Lines on the flags about tiles, without loading the detector."""
    if _OVERLAP.value is not None and not _TILES.value:
        return [f"Tiles: of the model, with an overlap of {100 * _OVERLAP.value:g}%."]
    if _TILES.value:
        tiling = Tiling(_TILES.value)
        if _OVERLAP.value is not None:
            tiling = dataclasses.replace(tiling, overlap=_OVERLAP.value)
        return [f"Tiles: {tiling}, from --tiles."]
    return ["Tiles: none, from --tiles=0."] if _TILES.value == 0 else []


if __name__ == "__main__":
    command_line.run(main, dry_run, least_arguments=1)
