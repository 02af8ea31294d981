import collections
import dataclasses
import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import synchronize

import cv2
import numpy as np
import pytest

from ioub_jax.data.augmentation import Augmentation
from ioub_jax.data.batching import BatchPlan, EvaluationPlan
from ioub_jax.data.checks import DataError
from ioub_jax.data.pipeline import evaluation_batches, training_batches
from ioub_jax.data.sources.coco import CocoSource
from ioub_jax.data.sources.shapes import ShapesSource
from ioub_jax.data.sources.voc import VocSource
from ioub_jax.data.transforms import resize
from tests import encoded, small_coco

SIZE = (32, 48)
SHAPES = ShapesSource(22, image_size=SIZE, seed=3)

STEPS = 13
CANVASES = ((48, 64), (64, 48), (56, 56))
EVERYTHING = Augmentation(
    horizontal_flip=0.5,
    vertical_flip=0.5,
    scale_jitter=(0.6, 1.6),
    photometric_distortion=True,
    expand_ratio=2.0,
    minimum_iou_crop=True,
    rotation=20.0,
    affine_scale=(0.8, 1.2),
    translation=0.1,
    shear=5.0,
    hsv=(0.015, 0.7, 0.4),
    blur=0.5,
    cutout=0.5,
    mosaic=0.5,
    mixup=0.5,
    copy_paste=0.5,
    close_after=0.6,
)
CLOSES_AT = 8  # .6 * 13 = 7.8


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """22 images on disk for three canvases."""
    folder = tmp_path_factory.mktemp("coco")
    return CocoSource(small_coco.write(folder), folder)


def _stream(source, start=0, augmentation=EVERYTHING, **options):
    # 22 images in batches of 4: the 13 steps span three epochs.
    plan = BatchPlan(source.sizes, 4, 7, CANVASES, scales=(0.7, 1.0))
    with training_batches(
        source,
        plan,
        seed=1,
        start_step=start,
        num_steps=STEPS - start,
        total_steps=STEPS,
        max_boxes=6,
        augmentation=augmentation,
        **options,
    ) as batches:
        return list(batches)


def _assert_equal(stream, other):
    assert len(stream) == len(other)
    for batch, same in zip(stream, other, strict=True):
        assert batch.keys() == same.keys()
        for name in batch:
            assert type(same[name]) is np.ndarray
            np.testing.assert_array_equal(batch[name], same[name], err_msg=name)


@pytest.fixture(scope="module")
def stream(source):
    return _stream(source)


def test_batches_are_those_of_the_plan(source, stream):
    plan = BatchPlan(source.sizes, 4, 7, CANVASES, scales=(0.7, 1.0))
    for step, batch in enumerate(stream):
        assert batch["image"].shape == (4, *plan[step].canvas, 3)
        assert batch["image_id"].tolist() == (plan[step].indices + 1).tolist()
    assert {batch["image"].shape[1:3] for batch in stream} == set(CANVASES)


def test_images_are_resized_to_their_canvas_by_the_batchs_scale(source):
    # 30x40 on 48x64, 40x30 on 64x48: times 1.6; 36x36 on 56x56: times 56 / 36.
    largest = {(48, 64): (48, 64), (64, 48): (64, 48), (56, 56): (56, 56)}
    plan = BatchPlan(source.sizes, 4, 7, CANVASES, scales=(0.7, 1.0))
    for step, batch in enumerate(_stream(source, augmentation=Augmentation())):
        height, width = largest[batch["image"].shape[1:3]]
        scale = plan[step].scale
        expected = [round(height * scale), round(width * scale)]
        assert batch["image_size"].tolist() == [expected] * 4


def test_flips_come_in_all_four_kinds(source):
    plain = _stream(source, augmentation=Augmentation())
    flipped = _stream(source, augmentation=Augmentation(horizontal_flip=0.5, vertical_flip=0.5))
    kinds = set()
    for batch, other in zip(plain, flipped, strict=True):
        for size, image, mirrored in zip(
            batch["image_size"].astype(int), batch["image"], other["image"], strict=True
        ):
            image, mirrored = image[: size[0], : size[1]], mirrored[: size[0], : size[1]]
            axes = [(), (1,), (0,), (0, 1)]
            # Interpolation rounds a mirrored image differently by a gray level.
            near = [np.abs(np.flip(image, a).astype(int) - mirrored).max() <= 2 for a in axes]
            kinds.add(axes[near.index(True)])
    assert kinds == {(), (1,), (0,), (0, 1)}


def test_nothing_is_joined_from_the_share_of_the_run_on_that_closes_it(source, stream):
    closed = _stream(source, augmentation=EVERYTHING.closed())
    _assert_equal(stream[CLOSES_AT:], closed[CLOSES_AT:])
    for batch, other in zip(stream[:CLOSES_AT], closed, strict=False):
        assert (batch["image"] != other["image"]).any()
    # A run that is made longer is closed later.
    longer = _stream(source, augmentation=dataclasses.replace(EVERYTHING, close_after=1.0))
    _assert_equal(stream[:CLOSES_AT], longer[:CLOSES_AT])
    assert (stream[CLOSES_AT]["image"] != longer[CLOSES_AT]["image"]).any()


class _CountingSource(ShapesSource):
    """Counts how often each image is decoded."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.loaded = collections.Counter()

    def load(self, index, at_least=None):
        self.loaded[index] += 1
        return super().load(index, at_least)


MOSAIC = Augmentation(mosaic=1.0, mixup=1.0, copy_paste=1.0)


@pytest.mark.parametrize(("batch_size", "hosts", "most"), [(16, 1, 16), (16, 2, 8), (16, 4, 8)])
def test_every_image_is_decoded_once_for_all_that_it_is_joined_with(batch_size, hosts, most):
    source = _CountingSource(32, image_size=SIZE)
    plan = BatchPlan(source.sizes, batch_size, 0, [SIZE])
    with training_batches(
        source,
        plan,
        seed=0,
        start_step=0,
        num_steps=1,
        max_boxes=40,
        augmentation=MOSAIC,
        process_count=hosts,
        prefetch=1,
    ) as batches:
        assert len(list(batches)) == 1
    assert batch_size // hosts <= sum(source.loaded.values()) <= most
    assert set(source.loaded.values()) == {1} and set(source.loaded) <= set(plan[0].indices)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_small_batches_are_joined_with_any_image(batch_size):
    source = _CountingSource(32, image_size=SIZE)
    plan = BatchPlan(source.sizes, batch_size, 0, [SIZE])
    options = {"seed": 0, "start_step": 0, "num_steps": 9, "max_boxes": 40}
    with training_batches(source, plan, augmentation=MOSAIC, **options) as batches:
        list(batches)
    seen = {index for step in range(9) for index in plan[step].indices.tolist()}
    assert len(set(source.loaded) - seen) > 3


@pytest.mark.parametrize("num_workers", [1, 2])
def test_worker_processes_give_the_same_stream(source, stream, num_workers):
    _assert_equal(stream, _stream(source, num_workers=num_workers))


def test_the_semaphores_of_the_workers_end_with_the_iterator(source):
    _stream(source, num_workers=1)  # grain keeps a pool of threads from the first on
    gc.disable()  # what is left must not be found by chance
    try:
        before = _live_semaphores()
        _stream(source, num_workers=1)
        assert _live_semaphores() <= before
    finally:
        gc.enable()


def _live_semaphores():
    # Some libraries' lazy modules change their class when they are asked for it.
    return sum(issubclass(type(thing), synchronize.SemLock) for thing in gc.get_objects())


@pytest.mark.parametrize("start", range(1, STEPS))
def test_a_resume_at_any_step_continues_the_stream(source, stream, start):
    _assert_equal(stream[start:], _stream(source, start, prefetch=1 + start % 3))


@pytest.mark.parametrize(("start", "num_workers"), [(4, 2), (9, 1)])
def test_a_resume_with_other_workers_continues_the_stream(source, stream, start, num_workers):
    _assert_equal(stream[start:], _stream(source, start, num_workers=num_workers))


@pytest.mark.parametrize(("hosts", "num_workers"), [(2, 0), (4, 0), (2, 1)])
def test_the_hosts_parts_are_the_global_batch(source, stream, hosts, num_workers):
    parts = [
        _stream(source, process_index=host, process_count=hosts, num_workers=num_workers)
        for host in range(hosts)
    ]
    joined = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    _assert_equal(stream, joined)


def test_hosts_that_cannot_share_a_batch_are_refused():
    with pytest.raises(ValueError, match="batch size 4 cannot be shared equally by 3 hosts"):
        _stream(SHAPES, process_count=3)


@pytest.mark.parametrize("hosts", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [4, 8, 32])
def test_evaluation_gives_every_image_once_and_unaugmented(source, hosts, batch_size):
    plan = EvaluationPlan(source.sizes, batch_size, CANVASES)
    seen = {}
    for host in range(hosts):
        with evaluation_batches(
            source, plan, max_boxes=6, process_index=host, process_count=hosts
        ) as batches:
            for batch in batches:
                assert len(batch["image"]) == batch_size // hosts
                for row in np.flatnonzero(batch["is_real"]):
                    index = int(batch["image_id"][row]) - 1
                    assert seen.setdefault(index, host) == host
                    height, width = batch["image_size"][row].astype(int)
                    expected = resize(source[index], (height, width))
                    image = batch["image"][row, :height, :width]
                    np.testing.assert_array_equal(image, expected.image)
                    count = len(expected.labels)
                    np.testing.assert_array_equal(batch["boxes"][row, :count], expected.boxes)
                    np.testing.assert_allclose(
                        batch["scale"][row], [height, width] / source.sizes[index], rtol=1e-6
                    )
    assert sorted(seen) == list(range(22))


@pytest.mark.parametrize(("channels", "values"), [(4, 4), (1, 3)])
def test_images_of_other_channels_come_through_worker_processes(tmp_path, channels, values):
    rng = np.random.default_rng(0)
    contents = [encoded.png(rng.integers(0, 256, (32, 48, values), np.uint8)) for _ in range(6)]
    encoded.write_coco(tmp_path, contents, [(32, 48)] * 6, [[4, 4, 20, 20]], suffix="png")
    source = CocoSource(tmp_path / "train.json", tmp_path / "images")
    source = source.read_with(dataclasses.replace(source.reading, channels=channels))
    joined = dataclasses.replace(EVERYTHING, photometric_distortion=False, hsv=(0.0, 0.0, 0.4))
    stream = _stream(source, augmentation=joined)
    assert {batch["image"].shape[3] for batch in stream} == {channels}
    workers = 1 if channels == 4 else 0
    _assert_equal(stream[4:], _stream(source, 4, augmentation=joined, num_workers=workers))


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
    source = VocSource(folder, "all")
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
    assert len(source.skipped) == 1 and "c.jpg: the image is truncated" in str(source.skipped[0])
    assert all(batch["is_real"].all() for batch in batches)


def test_an_unreadable_image_of_a_mosaic_is_replaced_by_the_next(damaged):
    joined = {"on_error": "skip", "augmentation": MOSAIC, "max_boxes": 40}
    source, batches = _damaged_stream(damaged, **joined)
    assert [batch["image_id"].tolist() for batch in batches] == [[1, 2], [4, 4]] * 2
    assert [problem.kind for problem in source.skipped] == ["unreadable_image"]
    with pytest.raises(DataError, match=r"c\.jpg: the image is truncated"):
        _damaged_stream(damaged, augmentation=MOSAIC, max_boxes=40)


def test_too_many_objects_of_a_mosaic_are_told_once_for_an_image(damaged):
    (damaged / "JPEGImages/c.jpg").write_bytes((damaged / "JPEGImages/a.jpg").read_bytes())
    source, batches = _damaged_stream(damaged, max_boxes=3, augmentation=MOSAIC)
    assert all(batch["valid"].sum(axis=1).max() <= 3 for batch in batches)
    told = [str(problem) for problem in source.skipped]
    assert len(told) == len(set(told)) <= 4 and {p.kind for p in source.skipped} == {
        "too_many_objects"
    }
    assert all("joined with other images (mosaic, mixup, copy-paste)" in one for one in told)


def test_of_too_many_objects_the_largest_are_kept_and_the_image_is_counted(damaged, caplog):
    (damaged / "JPEGImages/c.jpg").write_bytes((damaged / "JPEGImages/a.jpg").read_bytes())
    with caplog.at_level(logging.WARNING):
        source, batches = _damaged_stream(damaged, max_boxes=1)
    # Image b has boxes of 10 and 20 pixels, c of 10, 20 and 30.
    np.testing.assert_array_equal(batches[0]["boxes"][1], [[0, 0, 20, 20]])
    np.testing.assert_array_equal(batches[1]["boxes"][0], [[0, 0, 30, 30]])
    assert [problem.kind for problem in source.skipped] == ["too_many_objects"] * 2
    sentence = r"b\.jpg: has 2 objects, .*max_boxes=1; the smallest 1 were left out, raise it to 2"
    assert re.search(sentence, str(source.skipped[0]))
    # The first and then every tenth, hundredth, ... is logged.
    told = [line for line in caplog.messages if line.startswith("Left out ")]
    assert len(told) == 1


def test_a_data_set_without_one_readable_image_raises(damaged):
    for image in (damaged / "JPEGImages").iterdir():
        image.write_bytes(b"")
    with pytest.raises(DataError, match="No image of the data set can be read"):
        _damaged_stream(damaged, on_error="skip")


def test_evaluation_marks_an_unreadable_image_as_not_real(damaged):
    source = VocSource(damaged, "all")
    plan = EvaluationPlan(source.sizes, 4, [SIZE])
    with evaluation_batches(source, plan, max_boxes=3, on_error="skip") as batches:
        (batch,) = batches
    assert batch["is_real"].tolist() == [True, True, False, True]
    assert batch["image_id"].tolist() == [1, 2, 3, 4] and len(source.skipped) == 1
    assert not batch["valid"][2].any()


def test_closing_ends_the_threads_and_the_iteration():
    plan = BatchPlan(SHAPES.sizes, 4, 0, [SIZE])
    batches = training_batches(SHAPES, plan, seed=0, start_step=0, num_steps=10**6, max_boxes=6)
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

class WatchfulSource(ShapesSource):
    def load(self, index, at_least=None):
        assert multiprocessing.parent_process() is not None
        if "jax" in sys.modules:
            from jax._src import xla_bridge
            assert not xla_bridge.backends_are_initialized()
        return super().load(index, at_least)

if __name__ == "__main__":
    source = WatchfulSource(8, image_size=(32, 32))
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
    except (FileNotFoundError, ProcessLookupError):
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
        "below = ('caches', 'coco_outlines', 'coco_values', 'errors', 'printing');"
        "ours -= {f'ioub_jax.{name}' for name in below};"
        "assert all(name.startswith('ioub_jax.data') for name in ours), ours;"
        "assert not {'flax', 'optax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
