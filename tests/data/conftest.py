import pytest

from tests.data import coco_folder


@pytest.fixture
def folder(tmp_path):
    """A small data set in COCO's format."""
    return coco_folder.create(tmp_path)
