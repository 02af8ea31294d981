import jax
import jax.numpy as jnp
import numpy as np

from ioub_jax.devices import placement
from ioub_jax.workdirs import checksums


def test_the_checksum_is_the_crc_32_of_the_bytes():
    # The value that every CRC-32 is checked by: of the ASCII digits 1 to 9, cbf43926.
    digits = jnp.asarray([int(digit, 16) for digit in ("31", "32", "33", "34", "35")], jnp.uint8)
    rest = jnp.asarray([0x36, 0x37, 0x38, 0x39], jnp.uint8)
    assert checksums.checksums_of({"a": jnp.concatenate([digits, rest])}) == {"a": "cbf43926"}
    # Whatever the shape, here bytes 31 32 | 33 34 in two rows of int16, little-endian.
    words = jnp.asarray([[0x3231], [0x3433]], jnp.int16)
    assert checksums.checksums_of(words) == checksums.checksums_of(digits[:4])


def test_every_bit_counts_and_every_leaf_has_a_path():
    tree = {"params": {"kernel": jnp.zeros((2, 3))}, "opt_state": ({}, [jnp.zeros(()), None])}
    found = checksums.checksums_of(tree)
    assert found.keys() == {"params/kernel", "opt_state/1/0"}
    negative = checksums.checksums_of(jax.tree.map(jnp.negative, tree))  # -0 equals 0
    assert found.keys() == negative.keys()
    assert not set(found.values()) & set(negative.values())


def test_the_names_are_those_of_the_checksums_whatever_the_leaves_are():
    tree = {"params": {"kernel": jnp.zeros((2, 3))}, "opt_state": ({}, [jnp.zeros(()), None])}
    shapes = jax.eval_shape(lambda: tree)
    assert checksums.names_of(shapes) == ["opt_state/1/0", "params/kernel"]
    assert checksums.names_of(shapes) == list(checksums.checksums_of(tree))


def test_an_array_on_eight_devices_has_the_checksum_of_its_values():
    values = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    mesh = placement.create_mesh(8)
    replicated = jax.device_put(values, placement.replicated(mesh))
    assert checksums.checksums_of(replicated) == checksums.checksums_of(values)
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    split = jax.device_put(values.repeat(4, axis=0), rows)
    assert checksums.checksums_of(split) == checksums.checksums_of(values.repeat(4, axis=0))


def test_a_difference_names_the_first_array_and_counts_the_others():
    saved = {"a": "1", "b": "2", "c": "3"}
    assert checksums.difference(saved, dict(saved)) is None
    assert checksums.difference(saved, saved | {"b": "0"}) == ("b has other bytes than were saved")
    # b differs, c is not there, d was not saved.
    assert checksums.difference(saved, {"a": "1", "b": "0", "d": "4"}) == (
        "b and 2 more arrays have other bytes than were saved"
    )
