import os
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from ioub_jax.data.batching import BatchPlan, EvaluationPlan
from ioub_jax.data.checks import DataError
from ioub_jax.data.pipeline import evaluation_batches, training_batches
from ioub_jax.data.sources.shapes import ShapesSource
from ioub_jax.data.sources.voc import VocFolderSource

STEPS = 13
SIZE = (32, 48)
SHAPES = ShapesSource(22, image_size=SIZE, seed=3)
# 22 images in batches of 4: the 13 steps span three epochs.
PLAN = BatchPlan(SHAPES.sizes, 4, 7, [SIZE])


def _stream(**changes):
    options = {
        "seed": 1,
        "start_step": 0,
        "num_steps": STEPS,
        "max_boxes": 6,
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
    }
    with training_batches(SHAPES, PLAN, **(options | changes)) as batches:
        return list(batches)


def _assert_equal(stream, other):
    assert len(stream) == len(other)
    for batch, same in zip(stream, other, strict=True):
        assert batch.keys() == same.keys()
        for name in batch:
            assert type(same[name]) is np.ndarray
            np.testing.assert_array_equal(batch[name], same[name], err_msg=name)


@pytest.fixture(scope="module")
def stream():
    return _stream()


def test_batches_are_those_of_the_plan_with_flips(stream):
    ids = [batch["image_id"].tolist() for batch in stream]
    assert ids == [(PLAN[step].indices + 1).tolist() for step in range(STEPS)]
    unflipped = _stream(horizontal_flip=0.0, vertical_flip=0.0)
    mirrored = {
        tuple(
            how
            for how, axes in (("none", ()), ("x", (1,)), ("y", (0,)), ("xy", (0, 1)))
            if (np.flip(plain, axes) == augmented).all()
        )
        for plain, augmented in zip(
            np.concatenate([batch["image"] for batch in unflipped]),
            np.concatenate([batch["image"] for batch in stream]),
            strict=True,
        )
    }
    assert mirrored == {("none",), ("x",), ("y",), ("xy",)}


def test_two_worker_processes_give_the_same_stream(stream):
    _assert_equal(stream, _stream(num_workers=2))


def test_a_resume_with_another_number_of_workers_continues_the_stream(stream):
    _assert_equal(stream[5:], _stream(start_step=5, num_steps=STEPS - 5, prefetch=3))
    _assert_equal(stream[9:], _stream(start_step=9, num_steps=STEPS - 9, num_workers=1))


@pytest.mark.parametrize("hosts", [2, 4])
def test_the_hosts_parts_are_the_global_batch(stream, hosts):
    parts = [_stream(process_index=host, process_count=hosts) for host in range(hosts)]
    joined = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    _assert_equal(stream, joined)


def test_hosts_that_cannot_share_a_batch_are_refused():
    with pytest.raises(ValueError, match="batch size 4 cannot be shared equally by 3 hosts"):
        _stream(process_count=3)


@pytest.mark.parametrize("hosts", [1, 2])
def test_evaluation_gives_every_image_once_and_unaugmented(hosts):
    plan = EvaluationPlan(SHAPES.sizes, 8, [SIZE])
    seen = {}
    for host in range(hosts):
        with evaluation_batches(
            SHAPES, plan, max_boxes=6, process_index=host, process_count=hosts
        ) as batches:
            assert len(batches) == 3
            for batch in batches:
                assert len(batch["image"]) == 8 // hosts
                for row in np.flatnonzero(batch["is_real"]):
                    assert seen.setdefault(batch["image_id"][row], host) == host
                    np.testing.assert_array_equal(
                        batch["image"][row], SHAPES[batch["image_id"][row] - 1].image
                    )
    assert sorted(seen) == list(range(1, 23))


@pytest.fixture
def damaged(tmp_path):
    """Four images of one, two, three and one box, of which the third is truncated."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    for name, count in zip("abcd", (1, 2, 3, 1), strict=True):
        side = 10 * np.arange(1, count + 1)
        objects = "".join(
            "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
            f"<xmax>{size}</xmax><ymax>{size}</ymax></bndbox></object>"
            for size in side
        )
        (tmp_path / f"Annotations/{name}.xml").write_text(
            f"<annotation><size><width>48</width><height>32</height></size>{objects}</annotation>"
        )
        image = cv2.imencode(".jpg", np.full((32, 48, 3), 50 + count, np.uint8))[1].tobytes()
        (tmp_path / f"JPEGImages/{name}.jpg").write_bytes(image[:-50] if name == "c" else image)
    return tmp_path


def _damaged_stream(folder, max_boxes=3, **options):
    source = VocFolderSource(folder, "all")
    plan = BatchPlan(source.sizes, 2, 0, [SIZE], shuffle=False)
    with training_batches(
        source, plan, seed=0, start_step=0, num_steps=4, max_boxes=max_boxes, **options
    ) as batches:
        return source, list(batches)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_raises_its_sentence_here(damaged, num_workers):
    with pytest.raises(DataError, match=r"c\.jpg: the image is truncated") as caught:
        _damaged_stream(damaged, num_workers=num_workers)
    assert caught.value.__suppress_context__ and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(damaged / "JPEGImages"))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_is_replaced_by_the_next_and_counted_once(damaged, num_workers):
    source, batches = _damaged_stream(damaged, on_error="skip", num_workers=num_workers)
    assert [batch["image_id"].tolist() for batch in batches] == [[1, 2], [4, 4]] * 2
    assert len(source.skipped) == 1 and "c.jpg: the image is truncated" in source.skipped[0]
    assert all(batch["is_real"].all() for batch in batches)


def test_too_many_objects_raise_or_the_largest_are_kept(damaged):
    with pytest.raises(DataError, match=r"b\.jpg: has 2 objects, .*max_boxes=1; raise it to 2, or"):
        _damaged_stream(damaged, max_boxes=1)
    source, batches = _damaged_stream(damaged, max_boxes=1, on_error="skip")
    np.testing.assert_array_equal(batches[0]["boxes"][1], [[0, 0, 20, 20]])
    assert source.skipped[0].endswith("the smallest 1 were left out.")
    assert len(source.skipped) == 2


def test_a_data_set_without_one_readable_image_raises(damaged):
    for image in (damaged / "JPEGImages").iterdir():
        image.write_bytes(b"")
    with pytest.raises(DataError, match="No image of the data set can be read"):
        _damaged_stream(damaged, on_error="skip")


def test_evaluation_marks_an_unreadable_image_as_not_real(damaged):
    source = VocFolderSource(damaged, "all")
    plan = EvaluationPlan(source.sizes, 4, [SIZE])
    with evaluation_batches(source, plan, max_boxes=3, on_error="skip") as batches:
        (batch,) = batches
    assert batch["is_real"].tolist() == [True, True, False, True]
    assert batch["image_id"].tolist() == [1, 2, 3, 4] and len(source.skipped) == 1
    assert not batch["valid"][2].any()


def test_closing_ends_the_threads_and_the_iteration():
    batches = training_batches(SHAPES, PLAN, seed=0, start_step=0, num_steps=10**6, max_boxes=6)
    next(batches)
    batches.close()
    batches.close()
    assert list(batches) == []
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("grain-prefetch") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Prints the workers' process ids as they are needed; the backend of jax must stay untouched.
_SCRIPT = """
import multiprocessing, sys, time
from ioub_jax.data.batching import BatchPlan
from ioub_jax.data.pipeline import training_batches
from ioub_jax.data.sources.shapes import ShapesSource

if __name__ == "__main__":
    source = ShapesSource(8, image_size=(32, 32))
    plan = BatchPlan(source.sizes, 2, 0, [(32, 32)])
    batches = training_batches(
        source, plan, seed=0, start_step=0, num_steps=10**6, max_boxes=6, num_workers=2
    )
    next(batches), next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if sys.argv[1] == "close":
        batches.close()
        assert not multiprocessing.active_children()
        from jax._src import xla_bridge
        assert not xla_bridge.backends_are_initialized()
    else:
        time.sleep(60)
"""


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks processes up in /proc")
@pytest.mark.parametrize("ending", ["close", signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_main_process(tmp_path, ending):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(ending)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    ) as main:
        workers = [int(pid) for pid in main.stdout.readline().split()]
        assert len(workers) == 2
        if ending != "close":
            assert all(_is_running(pid) for pid in workers)
            main.send_signal(ending)
        errors = main.communicate(timeout=60)[1]
    if ending == "close":
        assert main.returncode == 0 and errors == ""
    deadline = time.monotonic() + 10
    while any(_is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_the_pipeline_loads_jax_and_nothing_else_of_the_package_is_loaded():
    program = (
        "import sys; from ioub_jax.data import batching, sources, transforms;"
        "assert not {'jax', 'flax', 'grain', 'matplotlib'} & set(sys.modules);"
        "from ioub_jax.data import pipeline;"
        "ours = {name for name in sys.modules if name.startswith('ioub_jax.')};"
        "assert all(name.startswith('ioub_jax.data') for name in ours), ours;"
        "assert not {'flax', 'optax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
