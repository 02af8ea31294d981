import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax.models import vision_transformer
from ioub_jax.weights import WeightsError, imported_backbones, transformer_names

CHANNELS = 4


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("stem_conv/kernel", "patch_embed.proj.weight"),
        ("stem_class_token", "cls_token"),
        ("stem_position", "pos_embed"),
        ("stage1_block1/norm1/scale", "blocks.0.norm1.weight"),
        ("stage12_block1/attention/qkv/bias", "blocks.11.attn.qkv.bias"),
        ("stage2_block1/attention/project/kernel", "blocks.1.attn.proj.weight"),
        ("stage2_block1/layer_scale2", "blocks.1.ls2.gamma"),
        ("stage2_block1/expand/kernel", "blocks.1.mlp.fc1.weight"),
        ("stage2_block1/project/bias", "blocks.1.mlp.fc2.bias"),
    ],
)
def test_transformer_key(path, key):
    assert transformer_names.transformer_key(tuple(path.split("/"))) == key


def template(grid=2):
    model = vision_transformer.VisionTransformer(
        blocks=1, channels=CHANNELS, heads=2, layer_scale=True, grid=grid
    )
    return jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, 32, 32, 3)), train=False), jax.random.key(0)
    )


def timm_file(*, patch=16, side=2):
    """A DINOv2 of one block with timm's names, and what is no part of a backbone."""
    shapes = {
        "cls_token": (1, 1, CHANNELS),
        "pos_embed": (1, 1 + side**2, CHANNELS),
        "mask_token": (1, CHANNELS),
        "patch_embed.proj.weight": (CHANNELS, 3, patch, patch),
        "patch_embed.proj.bias": (CHANNELS,),
        "norm.weight": (CHANNELS,),
        "head.weight": (7, CHANNELS),
    }
    for name in ("norm1", "norm2"):
        shapes |= {f"blocks.0.{name}.{leaf}": (CHANNELS,) for leaf in ("weight", "bias")}
    for name, outputs, inputs in (
        ("attn.qkv", 3, 1),
        ("attn.proj", 1, 1),
        ("mlp.fc1", 4, 1),
        ("mlp.fc2", 1, 4),
    ):
        shapes[f"blocks.0.{name}.weight"] = (outputs * CHANNELS, inputs * CHANNELS)
        shapes[f"blocks.0.{name}.bias"] = (outputs * CHANNELS,)
    shapes |= {f"blocks.0.ls{i}.gamma": (CHANNELS,) for i in (1, 2)}
    rng = np.random.default_rng(0)
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}


def as_transformers(state):
    """The same with the names of transformers' Dinov2Model."""
    renamed = {}
    for key, value in state.items():
        if ".attn.qkv." in key:
            for part, rows in zip(("query", "key", "value"), np.split(value, 3), strict=True):
                name = key.replace("attn.qkv", f"attention.attention.{part}")
                renamed[name.replace("blocks.", "encoder.layer.")] = rows
            continue
        key = re.sub(r"^(cls_token|mask_token)$", r"embeddings.\1", key)
        key = re.sub(r"^pos_embed$", "embeddings.position_embeddings", key)
        key = key.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        key = key.replace("blocks.", "encoder.layer.").replace(
            "attn.proj", "attention.output.dense"
        )
        key = re.sub(r"ls(\d).gamma", r"layer_scale\1.lambda1", key)
        renamed[re.sub(r"^norm\.", "layernorm.", key)] = value
    return renamed


def imported(state, *, grid=2):
    return imported_backbones.backbone_variables(
        state, template(grid), backbone="dinov2_small", name="dinov2.safetensors"
    )["params"]


def test_timms_file_is_taken_whole():
    state = timm_file()
    params = imported(state)
    assert not any(module.startswith("pyramid") for module in params)
    block = params["stage1_block1"]
    np.testing.assert_array_equal(
        block["attention"]["qkv"]["kernel"], state["blocks.0.attn.qkv.weight"].T
    )
    np.testing.assert_array_equal(block["layer_scale1"], state["blocks.0.ls1.gamma"])
    # The class token has its position in it.
    np.testing.assert_array_equal(
        params["stem_class_token"], state["cls_token"] + state["pos_embed"][:, :1]
    )
    np.testing.assert_array_equal(params["stem_position"], state["pos_embed"][:, 1:])


def test_the_names_of_transformers_are_those_of_timm():
    state = timm_file()
    ours, theirs = imported(state), imported(as_transformers(state))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    ("layout", "lost", "named"),
    [
        (dict, "blocks.0.ls1.gamma", "missing: blocks.0.ls1.gamma"),
        (dict, "cls_token", "missing: cls_token"),
        (
            as_transformers,
            "encoder.layer.0.attention.attention.key.weight",
            r"missing: blocks.0.attn.qkv.weight; unexpected: "
            r"blocks.0.attention.attention.query.weight, "
            r"blocks.0.attention.attention.value.weight",
        ),
    ],
)
def test_every_key_is_accounted_for(layout, lost, named):
    state = layout(timm_file())
    del state[lost]
    with pytest.raises(WeightsError, match=f"^dinov2.safetensors does not have .*{named}"):
        imported(state)


def test_a_file_with_registers_is_refused():
    state = timm_file() | {"register_tokens": np.zeros((1, 4, CHANNELS), np.float32)}
    with pytest.raises(WeightsError, match="unexpected: register_tokens"):
        imported(state)


def test_positions_of_another_grid_are_resized():
    # A plane over 3 x 3 patches; of a plane the middle of 5 x 5 is the middle, whatever the kernel.
    plane = np.arange(9, dtype=np.float32).reshape(1, 9, 1)
    resized = transformer_names.resized_position(plane, 5).reshape(5, 5)
    np.testing.assert_allclose(resized[2, 2], 4.0, atol=1e-6)
    np.testing.assert_allclose(resized + resized[::-1, ::-1], 8.0, atol=1e-5)
    assert imported(timm_file(side=3))["stem_position"].shape == (1, 4, CHANNELS)


def test_resampled_patches_make_what_they_made_of_resized_pixels():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(2, 3, 14, 14)).astype(np.float32)
    pixels = rng.normal(size=(14, 14, 3))
    matrix = vision_transformer.resizing_matrix(14, 16)
    enlarged = np.einsum("ya,xb,abi->yxi", matrix, matrix, pixels)
    resampled = transformer_names.resampled_patches(kernel, 16)
    np.testing.assert_allclose(
        np.einsum("oiyx,yxi->o", resampled, enlarged),
        np.einsum("oiyx,yxi->o", kernel, pixels),
        rtol=1e-4,
    )
    assert imported(timm_file(patch=14))["stem_conv"]["kernel"].shape == (16, 16, 3, CHANNELS)


def test_what_is_no_block_is_refused():
    with pytest.raises(ValueError, match="'pyramid_norm4' is not a block of a transformer"):
        transformer_names.transformer_key(("pyramid_norm4", "scale"))
