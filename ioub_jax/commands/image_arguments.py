"""The images and videos that the arguments of a command name."""

import glob
import os
import pathlib
from collections.abc import Sequence

from ioub_jax.commands.footage import Footage
from ioub_jax.data import image_headers, video_files
from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.image_suffixes import IMAGE_SUFFIXES


def find_images(
    arguments: Sequence[str], without: pathlib.Path | None = None
) -> list[pathlib.Path]:
    """The images and videos that arguments name, each once; folders and globs are searched.

    Only images are searched for in folders, no videos.

    Args:
      arguments: files, folders and globs.
      without: a folder whose images are left out if it lies in one that is searched, such as that
        of the results.

    Raises:
      DataError: a folder or a glob contains nothing.
    """
    found: dict[pathlib.Path, None] = {}
    for argument in arguments:
        path = pathlib.Path(argument)
        if os.path.isdir(path):
            matches = images_in(path, without)
        elif os.path.isfile(path) or not glob.has_magic(argument):
            matches = [path]  # a missing file is reported when it is read
        else:
            matches = sorted(pathlib.Path(p) for p in glob.glob(argument, recursive=True))
        if not matches:
            raise DataError(
                f"{argument}: there is no image ({', '.join(sorted(IMAGE_SUFFIXES))}) there; give "
                "files, folders or globs.",
                "missing_image",
            )
        found |= dict.fromkeys(matches)
    return list(found)


def images_in(folder: pathlib.Path, without: pathlib.Path | None = None) -> list[pathlib.Path]:
    """The image files in a folder and its subfolders, without hidden files, as in data sets."""
    here = pathlib.Path(os.path.abspath(folder))
    left_out = None if without is None else pathlib.Path(os.path.abspath(without))
    if left_out is not None and here not in left_out.parents:
        left_out = None

    def is_image(path: pathlib.Path) -> bool:
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in IMAGE_SUFFIXES or "__MACOSX" in parts:
            return False
        if any(part.startswith(".") for part in parts):
            return False
        return left_out is None or left_out not in (here / path.relative_to(folder)).parents

    return sorted(filter(is_image, folder.rglob("*")))


def existing(
    arguments: Sequence[str],
    frames_per_second: float | None = None,
    without: pathlib.Path | None = None,
) -> tuple[list[pathlib.Path], list[Footage]]:
    """The images and the videos that arguments name, if at least one of them exists.

    Args:
      arguments: files, folders and globs.
      frames_per_second: frames per second of folders, which then hold the frames of videos; None if
        folders hold images.
      without: as in `find_images`.

    Raises:
      DataError: for the reasons in `find_images`, or none of the files exists.
    """
    of_folders = []
    if frames_per_second is not None:
        folders = [pathlib.Path(a) for a in arguments if os.path.isdir(a)]
        arguments = [a for a in arguments if pathlib.Path(a) not in folders]
        of_folders = [
            Footage(folder, tuple(find_images([str(folder)], without)), frames_per_second)
            for folder in folders
        ]
    paths = find_images(arguments, without)
    if paths and not any(os.path.isfile(path) for path in paths) and not of_folders:
        others = f", nor do the other {len(paths) - 1}" if len(paths) > 1 else ""
        raise DataError(
            f"{paths[0]} does not exist{others}; give files, folders or globs.", "missing_image"
        )
    is_video = [path.suffix.lower() in video_files.SUFFIXES for path in paths]
    images = [path for path, video in zip(paths, is_video, strict=True) if not video]
    videos = [Footage(path) for path, video in zip(paths, is_video, strict=True) if video]
    return images, [*videos, *of_folders]


def orientations(paths: Sequence[pathlib.Path]) -> str:
    """A line with the number of files with an EXIF orientation; '' if none has one."""

    def is_turned(path: pathlib.Path) -> bool:
        try:
            with path.open("rb") as file:
                return image_headers.read_orientation(file) != image_headers.UPRIGHT
        except OSError:
            return False

    turned = sum(map(is_turned, paths))
    if not turned:
        return ""
    return (
        f"{turned} of {len(paths)} images {'has' if turned == 1 else 'have'} an EXIF orientation, "
        "which is ignored, as in training: boxes refer to the pixels as stored, in which objects "
        "may lie on their side; --config.data.exif=apply turns the images upright."
    )
