"""Trains arms with several seeds and reports their paired differences.

ioub compare --config=shapes_retinanet --workdir=runs/compare \
  --arms=baseline,cls,loc,both,loc_weight_only --seeds=5

Run the same command again to resume where it stopped. Instead of --arms,
--sweep=loss.classification.eta=0,0.5,1,1.5,2 compares values of a key,
--arm="giou: loss.localization.name=giou loss.localization.weight=2" (once for each arm) compares
arms that set any keys, and --runs=NAME=GLOB (once for each arm) compares existing workdirs.
"""

import functools
import glob
import logging
import pathlib
from collections.abc import Sequence

from absl import flags

from ioub_jax.commands import command_line
from ioub_jax.configs import defaults

_CONFIG = command_line.define_config(required=False)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the comparison.", required=True)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the report and the results; by default the workdir."
)
_ARMS = flags.DEFINE_list(
    "arms",
    None,
    "The arms to train, by default all; the others are compared with the first.",
)
_SWEEP = flags.DEFINE_string("sweep", None, "KEY=VALUE,VALUE: arms that differ in one key.")
_ARM = flags.DEFINE_multi_string(
    "arm", None, "'NAME: KEY=VALUE KEY=VALUE' of an arm; the others are compared with the first."
)
_RUNS = flags.DEFINE_multi_string("runs", None, "NAME=GLOB of an arm's finished workdirs.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Number of seeds, from config.seed on.", lower_bound=1)
_PROCESSES = flags.DEFINE_integer("processes", 1, "Number of runs at once.", lower_bound=1)
_DEVICES = flags.DEFINE_integer(
    "devices", None, "Number of GPUs or TPU chips that the processes share; unset on a CPU."
)
_RESAMPLINGS = flags.DEFINE_integer(
    "resamplings", 200, "Bootstrap samples of the validation images.", lower_bound=20
)

if __name__ == "__main__":
    command_line.parse_flags()

from ioub_jax import files
from ioub_jax.commands import preview
from ioub_jax.data.checks import DataError
from ioub_jax.errors import ConfigError
from ioub_jax.plotting import gains as plotting
from ioub_jax.studies import arm_settings, parallel_runs, planned_runs, study_report

logger = logging.getLogger("ioub_jax")


def _arms() -> list[tuple[str, arm_settings.Change]]:
    """The arms of --arm, --sweep or --arms, and the changes of each."""
    if _ARM.value:
        given = [arm_settings.arm_of_settings(text, "--arm") for text in _ARM.value]
        return _distinct(given, "--arm")
    if _SWEEP.value:
        key, _, values = _SWEEP.value.partition("=")
        swept = [
            (f"{key}={value}", arm_settings.setting(key, value, "--sweep"))
            for value in values.split(",")
            if value
        ]
        return _distinct(swept, "--sweep")
    arms = _ARMS.value
    if arms is None:
        arms = sorted(defaults.arms_of(_CONFIG.value), key=lambda arm: arm != "baseline")
    for arm in arms:
        if arm not in defaults.ARMS:
            raise ConfigError(f"Unknown arm {arm!r}; it must be one of {', '.join(defaults.ARMS)}.")
    changes: list[tuple[str, arm_settings.Change]] = [
        (arm, functools.partial(defaults.set_arm, arm=arm)) for arm in arms
    ]
    return _distinct(changes, "--arms")


def _distinct(
    arms: list[tuple[str, arm_settings.Change]], flag: str
) -> list[tuple[str, arm_settings.Change]]:
    """The given arms; raises `ConfigError` if there is none, or one of them is given twice."""
    if not arms:
        raise ConfigError(f"{flag} names nothing to compare; give at least one.")
    names = [name for name, _ in arms]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{flag} gives {name!r} twice; give each arm a name of its own.")
    return arms


def _existing(texts: list[str], output: pathlib.Path) -> list[planned_runs.PlannedRun]:
    """The runs of --runs."""
    arms = []
    for text in texts:
        name, separator, pattern = text.partition("=")
        folders = sorted(map(pathlib.Path, glob.glob(pattern)))
        folders = [folder for folder in folders if (folder / "config.json").is_file()]
        if not separator or not folders:
            raise ConfigError(f"--runs={text} names no run; write NAME=GLOB of finished workdirs.")
        arms.append((name, folders))
    return planned_runs.existing_runs(arms, output / "results")


def _runs(workdir: pathlib.Path, output: pathlib.Path) -> list[planned_runs.PlannedRun]:
    """The runs that the flags name, finished or not."""
    files.check_can_write(output)
    if _RUNS.value:
        return _existing(_RUNS.value, output)
    if _CONFIG.value is None:
        raise ConfigError("Give --config to train, or --runs to compare finished workdirs.")
    return planned_runs.plan_runs(_CONFIG.value, _arms(), _SEEDS.value, workdir, output / "results")


def _folders() -> tuple[pathlib.Path, pathlib.Path]:
    """Folders in which the runs are trained and the report is written."""
    workdir = files.path_of(_WORKDIR.value)
    files.local(workdir, "where ioub compare does not train: give a folder as --workdir")
    return workdir, pathlib.Path(_OUTPUT.value or workdir)


def dry_run() -> Sequence[str]:
    """Lines that list the runs to be trained, resumed, or only read."""
    workdir, output = _folders()
    runs = _runs(workdir, output)
    lines = [f"{run.name}: {planned_runs.progress_of(run)}" for run in runs]
    if not _RUNS.value:
        slots = parallel_runs.shares(_PROCESSES.value, _DEVICES.value)
        pending = [run for run in runs if not planned_runs.is_finished(run)]
        # One run of each arm is previewed, since a value that only one arm has may be wrong.
        seen = {run.arm: run for run in reversed(pending)}
        previews = [preview.preview_training(run.config, run.workdir) for run in seen.values()]
        data = previews[-1][:-2] if previews else []
        lines = [*data, *lines, planned_runs.time_left(runs, len(slots))]
    return [*lines, f"Files: report.md, report.json, report.png and results/ in {output}."]


def main() -> None:
    """Trains the missing runs and writes the report."""
    workdir, output = _folders()
    runs = _runs(workdir, output)

    def report() -> str:
        return study_report.write(runs, output, _RESAMPLINGS.value, plotting.comparison)

    def report_so_far() -> None:
        try:
            report()
        except ConfigError:  # raised while the first arm has no finished run
            pass
        except (DataError, OSError) as error:
            logger.warning("The report so far was not written: %s", error)

    problems: list[str] = []
    if not _RUNS.value:
        slots = parallel_runs.shares(_PROCESSES.value, _DEVICES.value)
        planned_runs.check_runs(runs)
        print(planned_runs.time_left(runs, len(slots)))
        outcome = parallel_runs.train_all(runs, slots, _RESAMPLINGS.value, report_so_far)
        problems = outcome.failures
        if outcome.stopped:
            report_so_far()
            problems += [
                "Stopped by a signal, with everything saved; run the same command to resume."
            ]
            raise ConfigError(" ".join(problems))
    try:
        print(report(), end="")
        print(f"The report is {output}/report.md, report.json and report.png.")
    except ConfigError as error:
        problems.append(str(error))  # after the failures of runs, which may explain it
    if problems:
        raise ConfigError(" ".join(problems))


if __name__ == "__main__":
    command_line.run(main, dry_run)
