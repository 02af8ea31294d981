import cv2
import numpy as np
import pytest
from PIL import Image

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.evaluation.coco_format import to_coco_ground_truth
from ioub_jax.evaluation.coco_input import check_input
from ioub_jax.report.image_readers import FolderImages, SourceImages
from ioub_jax.report.measurement import ImageEntry
from tests import small_coco


def entry(file_name, size=None):
    return ImageEntry(str(file_name), file_name, size)


@pytest.mark.parametrize(
    "name", ["a b.png", "a%20b.png", "other/folder/a b.png", "other%2Ffolder%2Fa%20b.png"]
)
def test_files_are_found_by_what_their_name_can_mean(tmp_path, name):
    cv2.imwrite(str(tmp_path / "a b.png"), np.full((4, 6, 3), 7, np.uint8))
    image = FolderImages(tmp_path, [entry(name, (6, 4))]).read(0)
    assert image.shape == (4, 6, 3) and image.max() == 7


def test_an_image_is_turned_where_its_annotations_are(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    reader = FolderImages(tmp_path, [entry("a.jpg", (4, 6)), entry("a.jpg", (6, 4))])
    assert reader.read(0).shape == (6, 4, 3)
    assert reader.read(1).shape == (4, 6, 3)


def test_an_image_may_be_larger_than_it_was_but_of_no_other_shape(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 60, 3), np.uint8))
    reader = FolderImages(tmp_path, [entry("a.png", (6, 4)), entry("a.png", (6, 6))])
    assert reader.read(0).shape == (40, 60, 3)
    with pytest.raises(DataError, match=r"is 60x40, but the ground truth says 6x6; correct"):
        reader.read(1)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (None, "image None has no file_name in the ground truth"),
        ("gone.png", "gone.png: cannot be read .* restore the file, or leave the report without"),
        ("a\0b.png", "is not a file name"),
        ("n" * 5000, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path, name, sentence):
    with pytest.raises(DataError, match=sentence):
        FolderImages(tmp_path, [entry(name)]).read(0)


def test_a_source_gives_images_by_their_place_among_ids(tmp_path):
    path = small_coco.write(tmp_path, count=4)
    source = CocoSource(path, tmp_path)
    checked = check_input(to_coco_ground_truth(source), [])
    reader = SourceImages(source, checked)
    for number, written in enumerate(checked.image_ids):
        expected = cv2.imread(str(tmp_path / f"{written}.png"))[..., ::-1]
        np.testing.assert_array_equal(reader.read(number), expected)
