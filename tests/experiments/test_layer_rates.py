"""Which convolutions a detector has, and how they are timed beside a peer."""

import collections
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.benchmark import layer_rates, ours, worker
from experiments.benchmark.timing import Seconds
from experiments.benchmark.workloads import Workload
from ioub_jax.from_config import training_parts
from ioub_jax.models import cost

SMALL = Workload(batch=1, height=64, width=96, classes=3, boxes=4)
STRIDED = layer_rates.Layer(((2, 8, 6, 4),), (3, 3, 4, 5), 2, 1, "float32", frozen=False)


@pytest.fixture(scope="module")
def found():
    return layer_rates.layers_of(SMALL)


def test_the_layers_are_all_products_of_the_model(found):
    detector = training_parts.detector_of(ours.configuration(SMALL), SMALL.classes)
    products = cost.multiply_adds(
        lambda variables, images: detector.network.apply(variables, images, train=False),
        detector.abstract_variables,
        jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.uint8),
    )
    # A product and a sum are two flops.
    total = sum(count * layer.gigaflops for layer, (_, count) in found.items())
    assert 1e9 * total / 2 == pytest.approx(products, rel=1e-12)


def test_the_stem_and_the_first_stage_are_frozen(found):
    frozen = collections.Counter()
    for layer, (_, count) in found.items():
        if layer.frozen:
            frozen[layer.kernel[:2]] += count
    # Three blocks of three convolutions, and the one beside the first of them.
    assert frozen == {(7, 7): 1, (3, 3): 3, (1, 1): 7}
    (stem,) = [layer for layer in found if layer.kernel[:2] == (7, 7)]
    assert stem.name == "7x7 stride 2 (64x96, 3 to 64) frozen"
    assert (stem.kind, stem.parts) == ("the rest", ("forward",))
    # 32 * 48 places of 7 * 7 * 3 * 64 products.
    assert stem.gigaflops == pytest.approx(2e-9 * 32 * 48 * 9408)


def test_every_layer_can_be_run_as_the_model_runs_it(found):
    for layer, (module, _) in found.items():
        maps = tuple(jax.ShapeDtypeStruct(shape, layer.dtype) for shape in layer.maps)
        kernel = jax.ShapeDtypeStruct(layer.kernel, jnp.float32)
        own, direct = (
            jax.tree.leaves(jax.eval_shape(convolve, kernel, maps))
            for convolve in (layer_rates._by_module(layer, module), layer_rates._directly(layer))
        )
        assert [x.shape for x in own] == [x.shape for x in direct]


def test_a_part_is_the_gradient_by_what_it_says():
    convolve = layer_rates._directly(STRIDED)
    # 4 * 3 places, two images: of the result, the inputs and the kernel.
    shapes = {"forward": (2, 4, 3, 5), "by inputs": (2, 8, 6, 4), "by kernel": (3, 3, 4, 5)}
    for part, shape in shapes.items():
        (result,) = jax.tree.leaves(layer_rates._work(STRIDED, part, convolve)())
        assert result.shape == shape and np.any(result != 0.0)
    # 24 places of 3 * 3 * 4 * 5 products.
    assert STRIDED.gigaflops == pytest.approx(2e-9 * 24 * 180)


PEER = """
import json, sys
print(json.dumps({"is": "a peer", "before": {}}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    seconds = asked["times"] * {"forward": 1.0, "by inputs": 2.0, "by kernel": 4.0}[asked["part"]]
    assert asked["maps"] == [[2, 8, 6, 4]] and asked["stride"] == 2
    print(json.dumps({"wall": seconds, "cpu": seconds}), flush=True)
"""


def test_a_peer_is_asked_for_every_part(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{PEER}")
    program.chmod(0o755)
    module = nn.Conv(5, (3, 3), strides=2, padding=1)
    monkeypatch.setattr(layer_rates, "layers_of", lambda workload: {STRIDED: (module, 3)})
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(peer_python=str(program), repeats=2, direct=True):
        report = layer_rates.layer_rates()
    (row,) = report["layers"]
    assert row["times"] == 3
    seconds = {part: row[part]["peer"]["CPU, s"]["median"] for part in layer_rates.PARTS}
    assert seconds == {"forward": 1.0, "by inputs": 2.0, "by kernel": 4.0}
    assert row["forward"]["direct"]["CPU, s"]["lowest"] > 0.0
    assert report["sums over the step"]["all"]["by kernel"]["peer, CPU s"] == 12.0
    assert report["markdown"][2].startswith("| 3x3 stride 2 (8x6, 4 to 5) | 3 | ")
    assert report["markdown"][-1].endswith("| 3 / 6 / 12 |")


def test_sums_are_by_kind():
    pointwise = layer_rates.Layer(((1, 10, 10, 50),), (1, 1, 50, 100), 1, 1, "float32", frozen=True)
    turns = {"ours": [Seconds(9.0, 2.0)]}
    rows = [
        (pointwise, 2, {"forward": turns}),
        (STRIDED, 1, dict.fromkeys(layer_rates.PARTS, turns)),
    ]
    sums = layer_rates._sums(rows)
    # Two flops for each of 100 * 50 * 100 products, twice.
    assert sums["1x1"] == {"forward": {"GFLOP": 0.002, "ours, CPU s": 4.0}}
    assert {part: of["ours, CPU s"] for part, of in sums["all"].items()} == {
        "forward": 6.0,
        "by inputs": 2.0,
        "by kernel": 2.0,
    }


@pytest.fixture
def torch_python():
    python = worker._ROOT / ".venv-peers" / "bin" / "python"
    if not python.exists():
        pytest.skip("no environment of the peers (make peers)")
    return python


def test_torch_does_every_part(torch_python):
    with worker.started(
        torch_python, "experiments.benchmark.torchvision_peer", ["layers", *SMALL.arguments()]
    ) as peer:
        for part in layer_rates.PARTS:
            assert 0.0 < peer.turn(STRIDED.ask(part, 2)).wall < 60.0
