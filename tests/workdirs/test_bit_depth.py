"""A run keeps the bit depth that it was measured with."""

import json

import numpy as np
import pytest

from ioub_jax.data.images import Reading
from ioub_jax.data.sources import FileSource, ShapesSource
from ioub_jax.data.sources.annotations import collect_annotations
from ioub_jax.errors import ConfigError
from ioub_jax.workdirs import bit_depth, checkpoint_folders


def _source(depth):
    """A data set of image files that was measured so."""
    nothing = collect_annotations([], np.zeros((0, 2)))
    return FileSource(nothing, [], ("a",), (1,), []).read_with(Reading(bit_depth=depth))


def test_what_was_measured_first_stays(tmp_path):
    assert bit_depth.claim(tmp_path, None, _source(12)) == 12
    assert json.loads((tmp_path / "bit_depth.json").read_text()) == {"bit_depth": 12}
    # The data have changed since.
    assert bit_depth.claim(tmp_path, None, _source(14)) == 12
    assert bit_depth.of_run(tmp_path, None) == 12


def test_a_run_of_an_earlier_version_goes_on_as_it_began(tmp_path):
    for part in ("state", "metadata"):
        (tmp_path / "checkpoints" / "last" / "7" / part).mkdir(parents=True)
    assert [folder.step for folder in checkpoint_folders.find(tmp_path)] == [7]
    assert bit_depth.claim(tmp_path, None, _source(12)) == 16
    assert bit_depth.of_run(tmp_path, None) == 16


def test_what_is_configured_needs_no_file(tmp_path):
    assert bit_depth.claim(tmp_path, 10, _source(10)) == 10
    assert list(tmp_path.iterdir()) == []
    assert bit_depth.of_run(tmp_path, 10) == 10


def test_data_without_files_and_old_runs_have_none(tmp_path):
    shapes = ShapesSource(num_images=2, image_size=(32, 32), seed=0, split="train")
    assert bit_depth.claim(tmp_path, None, shapes) is None
    assert list(tmp_path.iterdir()) == []
    assert bit_depth.of_run(tmp_path, None) == 16


@pytest.mark.parametrize("content", ["[12]", "{}", '{"bit_depth": 11}', '{"bit_depth": "12"}'])
def test_a_broken_file_is_told(tmp_path, content):
    (tmp_path / "bit_depth.json").write_text(content)
    with pytest.raises(ConfigError, match=r"bit_depth\.json does not have a `bit_depth` of 8, 10"):
        bit_depth.of_run(tmp_path, None)
