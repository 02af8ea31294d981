"""What is kept of a file says what the file says, or is not used."""

import concurrent.futures
import json
import os
import pickle
import time

import numpy as np
import PIL.Image
import pytest

from ioub_jax.data.checks import DataError
from ioub_jax.data.sources import coco, coco_index
from ioub_jax.data.sources.coco import CocoSource
from tests.small_coco import all_that_is_read


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder, in which the smallest file has its index."""
    monkeypatch.setenv("IOUB_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(coco_index, "SMALLEST", 0)
    return tmp_path / "cache/annotations"


@pytest.fixture
def reads(monkeypatch):
    """The files that were read, one entry each time."""
    read, files = coco.read_document, []
    monkeypatch.setattr(
        coco, "read_document", lambda path, *args: files.append(path) or read(path, *args)
    )
    return files


@pytest.fixture
def settled(monkeypatch):
    """A clock by which all files were written more than four seconds ago."""
    now = time.time
    monkeypatch.setattr(coco_index.time, "time", lambda: now() + 5)


def _open(folder, on_error="raise", **options):
    return CocoSource(folder.json, folder.root / "images", on_error=on_error, **options)


def test_a_file_is_read_once(folder, cache, reads, settled):
    first = _open(folder)
    assert all_that_is_read(_open(folder)) == all_that_is_read(first) and len(reads) == 1
    (kept,) = cache.iterdir()
    assert kept.suffix == ".npz" and kept.stat().st_mode & 0o777 == 0o644
    again = _open(folder)
    np.testing.assert_array_equal(again[0].image, first[0].image)
    assert again.sizes.flags.writeable and type(again.census.changes) is type(first.census.changes)


def test_what_is_told_and_left_out_is_the_same_again(folder, reads, settled, caplog):
    folder.edit("images", 0, file_name="missing.jpg", id="name")
    folder.edit("images", 1, file_name="sub folder\\b.png")
    folder.edit("annotations", 0, image_id="name")
    folder.edit("annotations", 1, bbox=[0, 0, 50, 60])
    folder.edit("annotations", 2, bbox=[1, 1, 0, 0])
    said, told = [], []
    for _ in range(2):
        caplog.clear()
        said.append(all_that_is_read(_open(folder, "skip")))
        told.append(caplog.messages)
    assert len(reads) == 1 and said[0] == said[1] and told[0] == told[1]
    problems, census = said[0][4:6]
    assert [problem.kind for problem in problems] == ["missing_image", "no_area"]
    assert census.changes == {"clipped": 1, "renamed": 1}
    # Of three boxes, one of them a region to ignore, one is clipped: not more than a third.
    assert told[1] == [] and said[1][0]["ignored"][1] == [False, True, False]


def test_a_warning_is_told_again(folder, reads, settled, caplog):
    for index in (1, 2):
        folder.edit("annotations", index, bbox=[0, 0, 50, 60])
    for _ in range(2):
        caplog.clear()
        _open(folder)
        assert "2 of 4 boxes stick out of their images" in caplog.messages[0]
    assert len(reads) == 1


def test_nothing_is_kept_of_a_file_that_is_refused(folder, cache, reads):
    folder.edit("annotations", 0, bbox=[1, 1, 0, 0])
    for _ in range(2):
        with pytest.raises(DataError, match="has no area"):
            _open(folder)
    assert len(reads) == 2 and not cache.exists()


def test_a_small_file_needs_no_index(folder, cache, monkeypatch):
    monkeypatch.setattr(coco_index, "SMALLEST", 1 << 22)
    assert len(_open(folder)) == 3
    assert not cache.exists()


DAMAGE = {
    "empty": lambda data: b"",
    "cut off in the middle": lambda data: data[: len(data) // 2],
    "cut off at the end": lambda data: data[:-1],
    "something else": lambda data: b"not an archive",
    "pickled": lambda data: pickle.dumps({"facts": 1}),
    "begun anew": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_index_is_made_anew_silently(folder, cache, reads, settled, caplog, name):
    said = all_that_is_read(_open(folder))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(DAMAGE[name](whole))
    assert all_that_is_read(_open(folder)) == said and len(reads) == 2
    assert all_that_is_read(_open(folder)) == said and len(reads) == 2
    assert not caplog.records and [file.name for file in cache.iterdir()] == [kept.name]


def test_no_flipped_byte_changes_what_an_index_says(folder, cache, settled):
    said = all_that_is_read(_open(folder))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    for place in range(0, len(whole), 41):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert all_that_is_read(_open(folder)) == said, place


def test_an_index_of_pickled_objects_is_not_read(folder, cache, reads, settled):
    _open(folder)
    (kept,) = cache.iterdir()
    with np.load(kept) as arrays:
        columns = dict(arrays)

    class Trap:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    columns["boxes"] = np.array([Trap()], object)
    np.savez(kept, **columns)
    assert len(_open(folder)) == 3 and len(reads) == 2


def _rewrite(folder):
    """Another box in a file of the same size and times."""
    text, stat = folder.json.read_text(), folder.json.stat()
    folder.json.write_text(text.replace("[8, 4, 16, 20]", "[9, 4, 16, 20]"))
    os.utime(folder.json, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert folder.json.stat().st_size == stat.st_size
    assert folder.json.stat().st_mtime_ns == stat.st_mtime_ns


def _replace(folder):
    """The same by another file that is moved into its place."""
    stat = folder.json.stat()
    other = folder.root / "other.json"
    other.write_text(folder.json.read_text().replace("[8, 4, 16, 20]", "[9, 4, 16, 20]"))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(folder.json)


@pytest.mark.parametrize("change", [_rewrite, _replace])
@pytest.mark.parametrize("pause", [0, 0.02])  # a clock of a file system may tick slower than we
def test_a_file_that_only_looks_the_same_is_read(folder, reads, change, pause):
    assert _open(folder).annotations(0).boxes[0, 0] == 8
    time.sleep(pause)
    change(folder)
    assert _open(folder).annotations(0).boxes[0, 0] == 9
    assert len(reads) == 2


def test_a_file_that_is_written_again_within_one_tick_is_read(folder, reads, monkeypatch):
    stat = coco_index._stat(folder.json)  # of a clock that stands still
    monkeypatch.setattr(coco_index, "_stat", lambda path: stat)
    assert _open(folder).annotations(0).boxes[0, 0] == 8
    _rewrite(folder)
    assert _open(folder).annotations(0).boxes[0, 0] == 9
    assert len(reads) == 2


def test_a_file_that_was_touched_moved_or_copied_is_known_by_its_content(folder, reads, settled):
    said = all_that_is_read(_open(folder))
    folder.json.touch()
    assert all_that_is_read(_open(folder)) == said
    copy = folder.root / "copy.json"
    copy.write_bytes(folder.json.read_bytes())
    copy.replace(folder.json)
    assert all_that_is_read(_open(folder)) == said and len(reads) == 1


def test_a_file_that_nobody_has_touched_is_not_even_hashed(folder, reads, settled, monkeypatch):
    _open(folder)
    monkeypatch.setattr(coco_index, "_digest", lambda path: pytest.fail("hashes the file"))
    _open(folder)
    assert len(reads) == 1


def test_a_file_that_changes_while_it_is_read_is_not_kept(folder, cache, monkeypatch):
    read = coco.read_document

    def read_slowly(path, *args):
        found = read(path, *args)
        path.write_text(path.read_text() + " ")
        return found

    monkeypatch.setattr(coco, "read_document", read_slowly)
    assert len(_open(folder)) == 3
    assert not cache.exists()


OPTIONS = {
    "classes": {"classes": ("dog",)},
    "classes in another order": {"classes": ("dog", "cat")},
    "on_error": {"on_error": "skip"},
    "split": {"split": "val"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_other_options_have_their_own_index(folder, cache, reads, settled, name):
    expected = all_that_is_read(CocoSource(folder.json, folder.root / "images", **OPTIONS[name]))
    said = all_that_is_read(_open(folder))
    assert (
        all_that_is_read(_open(folder, **OPTIONS[name])) == expected
        and all_that_is_read(_open(folder)) == said
    )
    assert len(reads) == 2 and len(list(cache.iterdir())) == 2


def test_an_index_of_another_version_of_this_package_is_not_used(
    folder, reads, settled, monkeypatch
):
    _open(folder)
    monkeypatch.setattr(coco_index, "_code", lambda: "another")
    _open(folder)
    assert len(reads) == 2


def test_the_code_that_reads_is_known_by_its_content():
    assert len(coco_index._code()) == 64
    names = {path.name for path in coco_index._code_files()}
    assert names >= {"coco_rows.py", "regions.py", "coco_values.py", "checks.py", "printing.py"}


def test_relative_paths_mean_another_file_elsewhere(folder, tmp_path, monkeypatch, settled):
    monkeypatch.chdir(folder.root)
    assert len(CocoSource("instances.json", "images")) == 3
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    PIL.Image.new("RGB", (4, 4)).save(other / "images/a.jpg")
    monkeypatch.chdir(other)
    content = {"images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 4}]}
    content["categories"] = [{"id": 1, "name": "a"}]
    (other / "instances.json").write_text(json.dumps(content))
    assert len(CocoSource("instances.json", "images")) == 1


def test_an_image_that_is_gone_is_told_though_the_file_is_known(folder, reads, settled):
    _open(folder)
    folder.image(2).unlink()
    with pytest.raises(DataError, match=r"b\.png: is missing"):
        _open(folder)
    assert len(reads) == 2


def test_a_folder_that_is_gone_is_told_though_the_file_is_known(folder, settled):
    _open(folder)
    (folder.root / "images").rename(folder.root / "moved")
    with pytest.raises(DataError, match="there is no such folder"):
        _open(folder)


def test_another_file_beside_the_images_changes_nothing(folder, reads, settled):
    said = all_that_is_read(_open(folder))
    (folder.root / "images/more.txt").write_text("")
    assert all_that_is_read(_open(folder)) == said and len(reads) == 1


def test_a_file_that_a_name_may_mean_now_is_seen(folder, reads, settled):
    folder.edit("images", 0, file_name="A.JPG")
    assert _open(folder).describe(0).endswith("/a.jpg") and len(reads) == 1
    assert _open(folder).describe(0).endswith("/a.jpg") and len(reads) == 1
    (folder.root / "images/A.JPG").write_bytes(folder.image(1).read_bytes())
    assert _open(folder).describe(0).endswith("/A.JPG") and len(reads) == 2


def test_a_file_system_that_ignores_case_is_asked_again(folder, reads, settled, monkeypatch):
    folder.edit("images", 0, file_name="A.JPG")
    isfile = os.path.isfile
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "isfile", lambda path: isfile(path) or path.endswith("/A.JPG"))
        for _ in range(2):
            assert _open(folder).describe(0).endswith("/A.JPG") and len(reads) == 1
    assert _open(folder).describe(0).endswith("/a.jpg") and len(reads) == 2


def test_an_image_that_was_missing_is_found(folder, reads, settled):
    folder.edit("images", 0, file_name="new.jpg")
    for _ in range(2):
        assert len(_open(folder, "skip")) == 2 and len(reads) == 1
    (folder.root / "images/new.jpg").write_bytes(folder.image(1).read_bytes())
    assert len(_open(folder, "skip")) == 3 and len(reads) == 2


@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_sizes_from_image_files_are_read_every_time(folder, cache, reads, settled, exif):
    if exif == "ignore":
        folder.edit("images", 0, height=0)
    for size in ((48, 64), (50, 66)):
        PIL.Image.new("RGB", size[::-1]).save(folder.image(1))
        if exif == "ignore":
            assert tuple(_open(folder).sizes[0]) == size
        else:
            _open(folder, exif="apply")
    assert len(reads) == 2 and not cache.exists()


def test_a_place_where_nobody_may_write_is_no_matter(folder, tmp_path, reads, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IOUB_JAX_CACHE", str(tmp_path / "file"))
    assert len(_open(folder)) == 3
    monkeypatch.delenv("IOUB_JAX_CACHE")
    monkeypatch.setattr("pathlib.Path.expanduser", _without_home)
    assert len(_open(folder)) == 3
    assert len(reads) == 2 and not caplog.records


def _without_home(path):
    if str(path).startswith("~"):
        raise RuntimeError("Could not determine home directory.")
    return path


def test_a_full_disk_leaves_nothing_behind(folder, cache, monkeypatch, caplog):
    def full(file, **arrays):
        file.write(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(coco_index.np, "savez", full)
    assert len(_open(folder)) == 3
    assert list(cache.iterdir()) == [] and not caplog.records


def test_what_killed_processes_have_left_goes_after_a_day(folder, cache, settled):
    _open(folder)
    (kept,) = cache.iterdir()
    old, new = (cache / f".{kept.name}.{name}.partial" for name in ("old", "new"))
    for partial in (old, new):
        partial.write_bytes(b"begun")
    os.utime(old, (0, 0))
    kept.write_bytes(b"")
    _open(folder)
    assert not old.exists() and new.exists()


def test_many_at_once_do_not_harm_each_other(folder, cache, settled):
    said = all_that_is_read(_open(folder))
    (kept,) = cache.iterdir()

    def open_(number):
        if number % 5 == 0:
            kept.unlink(missing_ok=True)
        return all_that_is_read(_open(folder))

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert all(one == said for one in threads.map(open_, range(40)))
    _open(folder)
    assert [file.name for file in cache.iterdir()] == [kept.name]


def test_names_and_sentences_of_any_bytes_are_kept(folder, reads, settled):
    name = os.fsdecode(b"\xff.jpg")
    try:
        (folder.root / "images" / name).write_bytes(folder.image(1).read_bytes())
    except OSError:
        pytest.skip("the file system has names in UTF-8 alone")
    folder.edit("images", 2, file_name="gone\u202e.jpg")
    said = [all_that_is_read(_open(folder, "skip")) for _ in range(2)]
    assert said[0] == said[1] and len(reads) == 1 and len(said[0][4]) == 1
