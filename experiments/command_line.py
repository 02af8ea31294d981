"""What every command does around its main: flags, log lines, one sentence for a user's error."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

import absl.logging
import jax
import tqdm
from absl import app, flags
from ml_collections import config_flags

from ioub_jax.data.checks import DataError
from ioub_jax.models import pretrained
from ioub_jax.models.pretrained.errors import WeightsError
from ioub_jax.training import hosts
from ioub_jax.training.configuration import ConfigError
from ioub_jax.training.metrics import NonFiniteError

#: What is told in one sentence; anything else is a bug of ours and keeps its traceback.
USER_ERRORS = (ConfigError, DataError, NonFiniteError, WeightsError)


def define_config(*, required: bool = True) -> flags.FlagHolder:
    """The flag --config of a command that starts from a configuration file."""
    holder = config_flags.DEFINE_config_file(
        "config", None, "A file of configs/, with its arm behind a colon.", lock_config=True
    )
    if required:
        flags.mark_flag_as_required("config")
    return holder


def define_run() -> tuple[flags.FlagHolder, flags.FlagHolder, flags.FlagHolder, flags.FlagHolder]:
    """The flags --workdir, --checkpoint, --ema and --split of a command that looks at a run."""
    return (
        flags.DEFINE_string("workdir", None, "The folder of the run.", required=True),
        flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "Which checkpoint."),
        define_ema(),
        flags.DEFINE_enum("split", "val", ["train", "val", "test"], "Which images."),
    )


def define_ema() -> flags.FlagHolder:
    """The flag --ema of a command that uses a run's weights."""
    return flags.DEFINE_bool(
        "ema", True, "Whether with the moving average of the weights, where the run keeps one."
    )


def define_processes() -> None:
    """The flags of a command that several processes may run together."""
    flags.DEFINE_string(
        "coordinator_address", None, "HOST:PORT of the first process; on TPU pods and SLURM unset."
    )
    flags.DEFINE_integer("num_processes", None, "How many processes run this command together.")
    flags.DEFINE_integer("process_id", None, "The number of this one, from 0.")


def join_processes() -> None:
    """Joins the processes that those flags, a TPU pod or SLURM name; only the first one talks.

    Raises:
      ConfigError: the flags contradict each other, or the processes do not find each other.
    """
    values = flags.FLAGS
    hosts.join(values.coordinator_address, values.num_processes, values.process_id)
    if not hosts.is_first():
        logging.getLogger("ioub_jax").setLevel(logging.WARNING)


def _end_without_the_others() -> NoReturn:
    """Ends this process at once: leaving in good order would wait for one that is gone."""
    traceback.print_exc()
    print(hosts.OTHERS_ARE_GONE, file=sys.stderr, flush=True)
    os._exit(1)


def _parse_flags(arguments: list[str]) -> list[str]:
    """Parses as absl does, with a configuration's unknown keys as one sentence."""
    try:
        return app.parse_flags_with_usage(arguments)
    except (AttributeError, KeyError) as error:
        # ml_collections says: 'etta' Did you mean "eta" instead of "etta"?
        words = str(error.args[0]).replace("\n", ": ").replace("\\'", "'").strip("\"'")
        sys.exit(f"No such key in the configuration: {words}")
    except (ValueError, TypeError, FileNotFoundError) as error:
        sys.exit(f"The configuration cannot be read: {error}")


def _show_log_lines() -> None:
    """Our own log lines as plain sentences on stderr, above the progress bar where there is one."""

    class AboveProgressBar(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.tqdm.write(self.format(record), file=sys.stderr)

    logger = logging.getLogger("ioub_jax")
    logger.setLevel(logging.INFO)
    logger.addHandler(AboveProgressBar())
    logger.propagate = False
    # Orbax tells every step of every save, and warns that a folder opened for reading is.
    absl.logging.set_verbosity(absl.logging.ERROR)


def _keep_compiled_programs() -> None:
    """Lets what was compiled once be read from a folder the next time."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = pretrained.cache_folder() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))


def run(
    main: Callable[..., None], choices: Sequence[str] = (), *, takes_arguments: bool = False
) -> None:
    """Parses the flags, runs `main` and turns a user's error into one sentence and exit code 1.

    Args:
      main: the command.
      choices: where there are any, the command takes one of them as its one argument.
      takes_arguments: whether the command takes arguments besides its flags, at least one.
    """
    _show_log_lines()
    _keep_compiled_programs()

    def checked(arguments: Sequence[str]) -> None:
        words = arguments[1:]
        if choices and (len(words) != 1 or words[0] not in choices):
            sys.exit(f"Say what to do: one of {', '.join(choices)}.")
        if takes_arguments and not words:
            sys.exit("Say what to work on: files, folders or globs after the flags.")
        if words and not (choices or takes_arguments):
            sys.exit(f"Unknown argument {words[0]!r}; every option is a --flag=value.")
        try:
            main(*words)
        except USER_ERRORS as error:
            sys.exit(f"Error: {error}")
        except jax.errors.JaxRuntimeError:
            if jax.process_count() == 1:
                raise
            _end_without_the_others()

    app.run(checked, flags_parser=_parse_flags)
