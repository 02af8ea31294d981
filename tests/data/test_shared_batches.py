import concurrent.futures
import multiprocessing
import pickle
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from ioub_jax.data.shared_batches import SharedBatch, SharedBatchReader, SharedImageMemory

SHAPE = (2, 4, 5, 3)


def _send(memory, level, shape=SHAPE):
    """What a worker does with a batch of images of one gray level."""
    name, images = memory.take(shape)
    images[:] = level
    return SharedBatch(name, shape, {"labels": np.array([level])})


@pytest.fixture
def memory():
    return SharedImageMemory(2 * 4 * 5 * 3)


@pytest.fixture
def reader(memory):
    reader = SharedBatchReader(memory.prefix, num_workers=1)
    yield reader
    reader.close()


def test_a_batch_arrives_and_its_memory_is_used_again(memory, reader):
    names, received = [], []
    for level in range(5):
        sent = pickle.loads(pickle.dumps(_send(memory, level)))
        names.append(sent.name)
        received.append(reader.read(sent))
    assert len(set(names)) == 1
    # What was read before is not changed by what came after.
    for level, batch in enumerate(received):
        assert batch["image"].shape == SHAPE and batch["image"].dtype == np.uint8
        assert (batch["image"] == level).all() and batch["labels"].tolist() == [level]


def test_memory_that_was_not_read_yet_is_not_written_to(memory, reader):
    sent = [_send(memory, level) for level in range(3)]
    assert len({batch.name for batch in sent}) == 3
    assert [int(reader.read(batch)["image"].max()) for batch in sent] == [0, 1, 2]
    assert _send(memory, 3).name in {batch.name for batch in sent}


def test_smaller_images_fit_into_the_same_memory(memory, reader):
    first = reader.read(_send(memory, 1))
    second = reader.read(_send(memory, 2, shape=(2, 3, 3, 3)))
    assert (first["image"] == 1).all() and second["image"].shape == (2, 3, 3, 3)
    assert (second["image"] == 2).all()


def test_the_memory_has_no_name_once_it_was_read(memory, reader):
    sent = _send(memory, 1)
    reader.read(sent)
    with pytest.raises(FileNotFoundError):
        SharedMemory(sent.name)


def test_a_batch_outlives_the_worker_that_sent_it(memory, reader):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as workers:
        sent = workers.submit(_send, memory, 7).result()
    assert (reader.read(sent)["image"] == 7).all()


def test_closing_frees_what_was_never_read(memory, reader):
    sent = [_send(memory, level) for level in range(4)]
    reader.read(sent[1])
    reader.close()
    for batch in sent:
        with pytest.raises(FileNotFoundError):
            SharedMemory(batch.name)


def test_another_process_starts_with_memory_of_its_own(memory, reader):
    _send(memory, 1)
    other = pickle.loads(pickle.dumps(memory))
    assert other.prefix == memory.prefix and other._pieces == []
