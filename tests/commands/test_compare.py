import pytest

ARGUMENTS = ("--config=tests/tiny.py", "--resamplings=20", "--config.evaluation.metrics=('coco',)")


@pytest.mark.slow
def test_arms_are_trained_once_and_compared(commands, tmp_path):
    arguments = (*ARGUMENTS, f"--workdir={tmp_path}", "--arms=baseline,both", "--seeds=2")
    code, output = commands("compare", *arguments, "--processes=2")
    assert code == 0, output
    assert output.count("Training arm") == 4
    assert "| both | 2 |" in output
    report = (tmp_path / "report.md").read_text()
    losses = [(tmp_path / arm / "seed_0/train.jsonl").read_text() for arm in ("baseline", "both")]
    assert losses[0] != losses[1]

    code, output = commands("compare", *arguments)
    assert code == 0, output
    assert "Training arm" not in output
    assert (tmp_path / "report.md").read_text() == report

    runs = [f"--runs={arm}={tmp_path}/{arm}/seed_*" for arm in ("baseline", "both")]
    code, output = commands("compare", *runs, f"--workdir={tmp_path}/again", "--resamplings=20")
    assert code == 0, output
    assert (tmp_path / "again/report.md").read_text() == report


@pytest.mark.slow
def test_a_failing_run_is_named_and_the_others_are_reported(commands, tmp_path):
    arguments = [
        *ARGUMENTS,
        f"--workdir={tmp_path}",
        "--sweep=schedule.base_learning_rate=0.01,1e38",
        "--config.optimizer.clip_global_norm=1e30",
        "--seeds=1",
    ]
    code, output = commands("compare", *arguments)
    assert code == 1
    assert "1 of 2 runs are not finished" in output
    assert "Error: arm schedule.base_learning_rate=1e38, seed 0 failed: Step 2: " in output
    assert "loss is nan" in output
    assert "Traceback" not in output

    # Where nothing is left to report, the reason is told first.
    arguments = [argument.replace("0.01,", "") for argument in arguments]
    code, output = commands("compare", *arguments, f"--output={tmp_path}/alone")
    assert code == 1
    assert "Error: arm schedule.base_learning_rate=1e38, seed 0 failed: Step 2: " in output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((ARGUMENTS[0], "--arms=baseline,bothe"), "Unknown arm 'bothe'; it must be one of both, "),
        ((ARGUMENTS[0], "--sweep=loss.etta=1"), "No such key in the configuration: 'loss.etta'"),
        ((ARGUMENTS[0], "--arm=a: loss.etta=1"), "configuration: 'loss.etta', in --arm."),
        ((ARGUMENTS[0], "--arm=a:", "--arm=a: seed=2"), "--arm gives 'a' twice"),
        ((ARGUMENTS[0], "--arms=baseline,baseline"), "--arms gives 'baseline' twice"),
        ((ARGUMENTS[0], "--sweep=seed=1,1"), "--sweep gives 'seed=1' twice"),
        ((ARGUMENTS[0], "--sweep=seed"), "--sweep names nothing to compare"),
        ((ARGUMENTS[0], "--arm=../a: seed=2"), "is not an arm; write --arm='NAME: KEY=VALUE"),
        ((ARGUMENTS[0], "--sweep=seed=a"), "sets seed to 'a', which is not of type int"),
        (
            (ARGUMENTS[0], "--sweep=loss.classification.name=focal,no", "--dry_run"),
            "loss.classification.name is 'no'; it must be one of focal, ",
        ),
        (
            (ARGUMENTS[0], "--sweep=loss.classification.name=focal,no"),
            "loss.classification.name is 'no'; it must be one of focal, ",
        ),
        ((), "Give --config to train, or --runs to compare finished workdirs."),
        (("--runs=a=nothing/*",), "--runs=a=nothing/* names no run"),
    ],
)
def test_mistakes_are_told_in_one_sentence(commands, tmp_path, arguments, sentence):
    code, output = commands("compare", f"--workdir={tmp_path}/new", *arguments)
    assert code == 1
    assert sentence in output
    assert "Traceback" not in output
    assert not (tmp_path / "new").exists()
