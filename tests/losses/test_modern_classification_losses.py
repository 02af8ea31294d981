"""Quality, correlation, distribution, GHM and ranking losses against published code, in float64."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ioub_jax import losses
from ioub_jax.losses.soft_ranks import soft_ranks

FILE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "modern_classification_losses.npz"


def load() -> dict:
    """Case -> what it says, by the rest of the key."""
    cases: dict = {}
    with np.load(FILE) as file:
        for key in file.files:
            case, rest = key.split("|", 1)
            array = file[key] if file[key].ndim else file[key].item()
            cases.setdefault(case, {})[rest] = array
    return cases


CASES = load()


def dense(formula, **names):
    """A loss of logits, labels and IoUs; what it is called there, by our name."""

    def loss(x):
        given = {ours: x[theirs] for ours, theirs in names.items() if theirs in x}
        return jnp.sum(formula(x["logits"], x["labels"], x["iou"], **given)) / x["normalizer"]

    return loss


def detached_varifocal(*arguments, **given):
    return losses.varifocal_loss(*arguments, detach_weights=True, **given)


def ranked_by_object(x):
    """Align-DETR's layers with many queries of an object: targets fall by their rank."""
    labels, ious, weights = np.full((1, 20), -1), np.zeros((1, 20)), np.ones((1, 20))
    labels[0, x["query"]], ious[0, x["query"]] = x["labels"], x["iou"]
    matched = x["original"][0, x["query"], x["labels"]]
    targets = (1 / (1 + np.exp(-matched))) ** x["alpha"] * x["iou"] ** (1 - x["alpha"])
    ranks = [
        np.sum((x["object"] == number) & (targets > target))
        for number, target in zip(x["object"], targets, strict=True)
    ]
    weights[0, x["query"]] = x["rank_weights"][ranks]
    loss = losses.iou_aware_bce_loss(x["logits"], labels, ious, target_weights=weights)
    return jnp.sum(loss) / x["normalizer"]


def correlation(kind):
    def loss(x):
        strength = x.get("regularization_strength", 0.01)
        return losses.correlation_loss(
            x["scores"], x["iou"], kind=kind, regularization_strength=strength
        )

    return loss


def ranks_of(x):
    counted = jnp.ones(x["values"].shape, bool)
    return soft_ranks(x["values"], counted, strength=x["regularization_strength"])


def distribution(sides):
    def loss(x):
        values = losses.distribution_focal_loss(x["logits"], x["targets"])
        return jnp.sum(x["weight"][:, None] * values) / sides / x["normalizer"]

    return loss


def harmonized(x, logits, state=None):
    labels = np.where(x["target"] > 0, 0, -1)
    more = {"bins": x["bins"], "momentum": x.get("momentum", 0.0)}
    return losses.ghm_c_loss(
        logits[..., None], labels, state, where=x["weight"][..., None] > 0, **more
    )


def harmonized_boxes(x, pred, state=None):
    more = {"bins": x["bins"], "momentum": x.get("momentum", 0.0), "mu": x["mu"]}
    return losses.ghm_r_loss(pred, x["target"], state, where=x["weight"] > 0, **more)


def second_step(formula, name):
    def loss(x):
        with jax.ensure_compile_time_eval():
            _, state = formula(x, x[f"{name}_step1"])
        np.testing.assert_allclose(state, x["acc_step1"], rtol=1e-12)
        values, state = formula(x, x[name], state)
        return jnp.sum(values) + 0.0 * jnp.sum(state)

    return loss


def ranking(formula, **more):
    def loss(x):
        positive = x["targets"] > 0
        values = formula(
            x["logits"][:, None], np.where(positive, 0, -1), x["targets"], delta=x["delta"], **more
        )
        return jnp.sum(values) / float(positive.sum())

    return loss


def average_lrp(x):
    positive = x["targets"] > 0
    errors = np.zeros(positive.shape)
    errors[positive] = x.get("regression_losses", 0.0)
    labels = np.where(positive, 0, -1)
    both = losses.average_lrp_loss(x["logits"][:, None], labels, errors, delta=x["delta"])
    return jnp.sum(both.classification) / float(positive.sum())


MAL = dense(losses.matchability_aware_loss, gamma="gamma", alpha="mal_alpha")
#: A family -> its value, made of inputs (and of other results, where these are needed).
LOSSES = {
    **dict.fromkeys(("cls/mal_gamma1.5", "cls/mal_gamma1.5_alpha0.25", "cls/mal_gamma2.0"), MAL),
    "cls/mal_gamma2.0_alpha0.25": MAL,
    "cls/vfl_deim": dense(detached_varifocal, alpha="alpha", gamma="gamma"),
    "cls/vfl_mmdet3": dense(losses.varifocal_loss, alpha="alpha", gamma="gamma"),
    "cls/qfl_mmdet3": dense(losses.quality_focal_loss, beta="beta"),
    "cls/ia_bce": dense(
        losses.iou_aware_bce_loss, alpha="alpha", gamma="gamma", least_target="t_min"
    ),
    "cls/ia_bce_aligndetr_ranked": ranked_by_object,
    "corr/concordance": correlation("concordance"),
    "corr/pearson": correlation("pearson"),
    "dfl/mmdet3_regmax16": distribution(1),
    "dfl/ultra_regmax16": distribution(4),
    **dict.fromkeys(
        ("dfl/mmdet3_integral", "dfl/ultra_decode"),
        lambda x: jnp.sum(x["cotangent"] * losses.decode_distribution(x["logits"])),
    ),
    "ghm/ghmc": lambda x: jnp.sum(harmonized(x, x["logits"])[0]),
    "ghm/ghmr": lambda x: jnp.sum(harmonized_boxes(x, x["pred"])[0]),
    "ghm/ghmc_momentum_step2": second_step(harmonized, "logits"),
    "ghm/ghmr_momentum_step2": second_step(harmonized_boxes, "pred"),
    **{f"rank/ranksort_delta{d}": ranking(losses.rank_and_sort_loss) for d in ("0.0", "0.5")},
    **{
        f"rank/bucketed_ranksort_delta{d}": ranking(losses.bucketed_rank_and_sort_loss)
        for d in ("0.0", "0.5")
    },
    **dict.fromkeys(("rank/alrp_delta1", "rank/ap_delta1"), average_lrp),
    **{f"corr/spearman_soft_{r}": correlation("spearman") for r in ("1.0", "0.1", "0.02", "0.01")},
    **{
        f"corr/soft_rank_{r}": lambda x: jnp.sum(x["cotangent"] * ranks_of(x))
        for r in ("1.0", "0.1", "0.02", "0.01")
    },
}


def inputs_of(case):
    found = CASES[case]
    given = {key[3:]: value for key, value in found.items() if key.startswith("in|")}
    given |= {key[4:]: value for key, value in found.items() if key.startswith("out|")}
    if "logits" in given:
        given["original"] = given["logits"]
    return given


def test_every_case_is_compared():
    assert {case.rsplit("/", 1)[0] for case in CASES} == LOSSES.keys()


# The second seed of every family is left to `make test-slow`: each compiles a program of its own.
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow if case.endswith("/1") else ()) for case in CASES],
)
def test_value_and_gradients(case):
    found, x = CASES[case], inputs_of(case)
    by = [key[5:] for key in found if key.startswith("grad|")]
    formula = LOSSES[case.rsplit("/", 1)[0]]
    with jax.enable_x64(True):
        differentiable = {name: jnp.asarray(x[name]) for name in by}
        value_and_gradients = jax.value_and_grad(lambda some: formula({**x, **some}))
        value, gradients = jax.jit(value_and_gradients)(differentiable)
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, found["value"], rtol=1e-8)
    for name in by:
        expected = found[f"grad|{name}"]
        # Ranking losses sort: of entries that are 0 but for rounding nothing is said.
        absolute = 1e-12 * np.abs(expected).max()
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-8, atol=absolute)


@pytest.mark.parametrize("case", [case for case in CASES if "ranksort" in case])
def test_the_ranking_error_alone(case):
    x = inputs_of(case)
    bucketed = "bucketed" in case
    formula = losses.bucketed_rank_and_sort_loss if bucketed else losses.rank_and_sort_loss
    with jax.enable_x64(True):
        value = ranking(formula, sorting_weight=0.0)(x)
        twice = ranking(formula, sorting_weight=2.0)(x)
    np.testing.assert_allclose(value, x["ranking"], rtol=1e-8)
    np.testing.assert_allclose(twice, x["ranking"] + 2 * x["sorting"], rtol=1e-8)


@pytest.mark.parametrize("seed", ["0", "1"])
def test_ranks_are_the_published_ones(seed):
    for strength in ("1.0", "0.02"):
        x = inputs_of(f"corr/soft_rank_{strength}/{seed}")
        with jax.enable_x64(True):
            ranks = ranks_of({**x, "values": jnp.asarray(x["values"])})
        np.testing.assert_allclose(ranks, x["rank"], rtol=1e-9)
    x = inputs_of(f"rank/alrp_delta1/{seed}")
    positive = x["targets"] > 0
    errors = np.zeros(positive.shape)
    errors[positive] = 1.0
    with jax.enable_x64(True):
        both = losses.average_lrp_loss(x["logits"][:, None], np.where(positive, 0, -1), errors)
    # With losses of 1 both parts are all that is ranked above, itself included, by the rank: 1.
    np.testing.assert_allclose((both.classification + both.localization)[positive], 1.0)
    np.testing.assert_array_equal(both.localization[~positive], 0.0)
    # Not in the order of `rank`: the share of positives in it is what 1 - F / rank says.
    np.testing.assert_allclose(
        np.sum(1 / x["rank"]),
        np.sum(_one_of_each(x, positive)),
        rtol=1e-9,
    )


def _one_of_each(x, positive):
    """`1 / rank_i`, from a localization loss of 1 at i alone: what it adds to its own part."""
    found = []
    for index in np.flatnonzero(positive):
        errors = np.zeros(positive.shape)
        errors[index] = 1.0
        with jax.enable_x64(True):
            both = losses.average_lrp_loss(x["logits"][:, None], np.where(positive, 0, -1), errors)
        found.append(both.localization[index])
    return found
