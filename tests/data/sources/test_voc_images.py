"""Images without XML: a problem, or images without objects where the tool writes none for those."""

import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources.voc import VocSource
from tests.data.voc_folder import write

DATUMARO = (
    "<annotation><source><database>Unknown</database><annotation>Unknown</annotation>"
    "<image>Unknown</image></source><size><width>8</width><height>6</height></size>{}</annotation>"
)
CAT = (
    "<object><name>cat</name><bndbox><xmin>2.0</xmin><ymin>2.0</ymin><xmax>5.5</xmax>"
    "<ymax>4.0</ymax></bndbox></object>"
)


@pytest.fixture
def folder(tmp_path):
    """Images a, b and c, of which b has no XML."""
    write(tmp_path, "Annotations/a.xml", "images/a.png", "images/b.png", "images/c.png")
    write(tmp_path, "Annotations/c.xml")
    return tmp_path


def _write(folder, **inside):
    for name, text in inside.items():
        (folder / f"Annotations/{name}.xml").write_text(DATUMARO.format(text))


def test_where_the_tool_writes_none_for_an_image_without_objects(folder, caplog):
    _write(folder, a=CAT, c=CAT)
    with caplog.at_level("INFO"):
        source = VocSource(folder)
    counts = [len(source.annotations(index).boxes) for index in range(len(source))]
    assert counts == [1, 0, 1] and not source.skipped
    assert "read as images without objects, since datumaro or CVAT writes none" in caplog.text
    with pytest.raises(DataError, match=r"b\.png: has no XML \(1 of 3 images has none\)"):
        VocSource(folder, unannotated="problem")


def test_where_the_tool_has_written_one_for_such_an_image(folder):
    _write(folder, a=CAT, c="")
    with pytest.raises(DataError, match=r"b\.png: has no XML \(1 of 3 images has none\)"):
        VocSource(folder)


def test_where_nobody_knows_the_tool(folder):
    with pytest.raises(DataError, match=r"b\.png: has no XML \(1 of 3 images has none\)"):
        VocSource(folder)
