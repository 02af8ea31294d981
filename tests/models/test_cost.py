import jax
import jax.numpy as jnp
import pytest

from configs import torchvision
from ioub_jax import detectors
from ioub_jax.models import cost


def convolution(x, kernel, groups=1, stride=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def test_multiply_adds_of_convolutions():
    x, kernel = jnp.zeros((2, 6, 8, 4)), jnp.zeros((3, 3, 4, 5))
    # 2 images, 6x8 places, 5 channels, each 3x3x4 products.
    assert cost.multiply_adds(convolution, x, kernel) == 2 * 48 * 5 * 36
    # With stride 2 a quarter of the places.
    strided = jax.jit(lambda x, kernel: convolution(x, kernel, stride=2))
    assert cost.multiply_adds(strided, x, kernel) == 2 * 12 * 5 * 36
    depthwise = jax.ShapeDtypeStruct((3, 3, 1, 4), jnp.float32)
    assert cost.multiply_adds(lambda x, k: convolution(x, k, 4), x, depthwise) == 2 * 48 * 4 * 9


def test_multiply_adds_of_products_loops_and_branches():
    a, b = jnp.zeros((3, 4)), jnp.zeros((4, 4))
    assert cost.multiply_adds(jnp.dot, a, b) == 3 * 4 * 4

    def repeated(a, b):
        return jax.lax.scan(lambda a, _: (a @ b, None), a, None, length=5)[0]

    assert cost.multiply_adds(repeated, a, b) == 5 * 48
    either = jax.lax.platform_dependent

    def dependent(a, b):
        return either(a, b, cpu=lambda a, b: a + b.sum(), default=lambda a, b: a @ b)

    assert cost.multiply_adds(dependent, a, b) == 48
    assert cost.multiply_adds(jnp.add, a, a) == 0


def test_parameter_count():
    shapes = {"a": jax.ShapeDtypeStruct((2, 3), jnp.float32), "b": {"c": jnp.zeros(4)}}
    assert cost.parameter_count(shapes) == 10


@pytest.mark.parametrize(
    ("name", "canvas", "classes", "billions"),
    [
        # Torchvision's own counts, the `_ops` of its weights.
        ("retinanet_resnet50_fpn", (800, 800), 91, 151.54),
        ("fcos_resnet50_fpn", (800, 800), 91, 128.207),
        ("ssd300_vgg16", (300, 300), 90, 34.858),
        ("ssdlite320_mobilenet_v3_large", (320, 320), 90, 0.583),
    ],
)
def test_multiply_adds_of_torchvisions_detectors(name, canvas, classes, billions):
    model = detectors.create(torchvision.get_config(name), classes).network
    images = jax.ShapeDtypeStruct((1, *canvas, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), key, images)
    count = cost.multiply_adds(lambda v, x: model.apply(v, x, train=False), variables, images)
    assert count / 1e9 == pytest.approx(billions, abs=0.005)
