import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.diagnostics import detection_files
from ioub_jax.errors import ConfigError


def test_names_are_as_long_as_they_must_be(tmp_path):
    paths = [tmp_path / name for name in ("a/run", "b/run", "b/run.v2")]
    assert detection_files.names_of(paths[1:]) == ["run", "run.v2"]
    assert detection_files.names_of(paths) == [
        "a/run",
        "b/run",
        "b/run.v2",
    ]
    with pytest.raises(ConfigError, match="is given twice; give each"):
        detection_files.names_of([tmp_path / "a", tmp_path / "b" / ".." / "a"])


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        (None, list, "cannot be read: No such file"),
        ("[1, 2", list, "is not a JSON file"),
        ("{}", list, r"does not have a list of detections\.$"),
        ('{"annotations": 3}', list, r"does not have a list of detections\.$"),
        (
            '{"images": [], "annotations": []}',
            list,
            "does not have a list of detections; its 'annotations' are a list: write them into",
        ),
        ("[]", dict, r"does not have a data set in COCO's format\.$"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_sentence(tmp_path, text, kind, sentence):
    path = tmp_path / "found.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=sentence):
        detection_files.read_json(path, kind)
