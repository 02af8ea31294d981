"""Common frame of all commands: flags, log lines, and one sentence for a user's error.

A command defines its flags, has `parse_flags` read them, imports its modules, and has `run` do the
work. So `--help` and a mistake in the flags wait neither for jax nor for anything that imports it,
and this module imports nothing that does.
"""

import gc
import importlib.metadata
import io
import logging
import os
import pathlib
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

import absl.logging
from absl import app, flags
from ml_collections import config_flags

from ioub_jax import caches, configs, log_lines
from ioub_jax.commands import boolean_flags, data_flags, machine, overrides
from ioub_jax.configs import keys
from ioub_jax.errors import UserError
from ioub_jax.printing import printable, printable_lines

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Check everything, print what would be done, and write nothing."
)


def define_config(*, required: bool = True) -> flags.FlagHolder:
    """The flag --config of a command that starts from a configuration file."""
    holder = config_flags.DEFINE_config_file(
        "config",
        None,
        "The name of a configuration, or a file with a get_config, with its arm after a colon.",
        lock_config=True,
    )
    if required:
        flags.mark_flag_as_required("config")
    return holder


# What a command has called `define_changes` with: the flags are defined when others are parsed.
_CHANGES: list[overrides.Changes] = []
# The command line without its flags, once they are parsed.
_ARGUMENTS: list[str] = []


def define_changes(run_flag: str) -> overrides.Changes:
    """The flags --config.KEY=VALUE of a command that uses the run in another flag."""
    _CHANGES.append(overrides.Changes(run_flag))
    return _CHANGES[-1]


def define_run() -> tuple[flags.FlagHolder, flags.FlagHolder, flags.FlagHolder, flags.FlagHolder]:
    """The flags --workdir, --checkpoint, --ema and --split of a command that inspects a run."""
    workdir = flags.DEFINE_string("workdir", None, "The folder of the run.", required=True)
    return (workdir, *define_weights(), define_split())


def define_weights() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """The flags --checkpoint and --ema of a command that uses a run's weights."""
    return (
        flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "Which checkpoint of a workdir."),
        flags.DEFINE_bool(
            "ema", True, "Whether to use the moving average of the weights, if the run keeps one."
        ),
    )


def define_split(default: str = "val") -> flags.FlagHolder:
    """The flag --split of a command that reads a data set."""
    return flags.DEFINE_enum("split", default, ["train", "val", "test"], "Which images.")


def define_processes() -> None:
    """The flags of a command that several processes may run together."""
    flags.DEFINE_string(
        "coordinator_address", None, "HOST:PORT of the first process; unset on TPU pods and SLURM."
    )
    flags.DEFINE_integer(
        "num_processes", None, "Number of processes that run this command together."
    )
    flags.DEFINE_integer("process_id", None, "The number of this process, from 0.")


def join_processes() -> None:
    """Joins the processes named by those flags, a TPU pod or SLURM; only the first one prints.

    Raises:
      ConfigError: the flags contradict each other, or the processes do not find each other.
    """
    from ioub_jax.devices import hosts  # with jax, for which --help does not wait

    values = flags.FLAGS
    hosts.join(values.coordinator_address, values.num_processes, values.process_id)
    if not hosts.is_first():
        logging.getLogger("ioub_jax").setLevel(logging.WARNING)


# ------------------------------------------------------------------ how a command ends

# Characters of a sentence that a library has made.
_LONGEST = 1000

#: Exit codes besides 0 and `hosts.GONE_EXIT_CODE`; docs/commands.md tells them to the user.
USER_ERROR, BUG = 1, 2


def sentence_of(error: BaseException) -> str | None:
    """An error as one sentence for the user; None for a bug, which has a traceback."""
    if isinstance(error, UserError):
        return str(error)
    return machine.sentence_of(error)


def _end(error: BaseException) -> NoReturn:
    """Prints an error and ends with its exit code."""
    if isinstance(error, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr, flush=True)
        if _has_others():  # which leaving in good order would wait for
            os._exit(128 + signal.SIGINT)
        sys.exit(128 + signal.SIGINT)
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        sys.exit(128 + signal.SIGPIPE)
    sentence = sentence_of(error)
    if _may_be_of_another_process(error):
        _end_without_the_others(sentence)
    if sentence is not None:
        _refuse(sentence)
    traceback.print_exception(error)
    sys.exit(BUG)


def _reader_is_gone() -> bool:
    """True if the reader of the output is gone, as after `| head`; nothing more is printed then."""
    poll, numbers = select.poll(), (sys.stdout.fileno(), sys.stderr.fileno())
    for number in numbers:
        poll.register(number, 0)
    gone = [number for number, event in poll.poll(0) if event & select.POLLERR]
    for number in gone:  # Python flushes once more when it ends, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return bool(gone)


def _may_be_of_another_process(error: BaseException) -> bool:
    """True if an error comes from jax and there are several processes."""
    return _has_others() and isinstance(error, sys.modules["jax"].errors.JaxRuntimeError)


def _has_others() -> bool:
    """True if this is one of several processes."""
    jax = sys.modules.get("jax")  # which need not be imported yet
    return jax is not None and bool(jax.distributed.is_initialized())


def _end_without_the_others(sentence: str | None) -> NoReturn:
    """Ends this process at once: an orderly exit would wait for a process that is gone."""
    from ioub_jax.devices import hosts  # as in `join_processes`

    if sentence is not None:  # not of another process: the others are left by this one
        print(f"Error: {sentence}", file=sys.stderr, flush=True)
        os._exit(USER_ERROR)
    traceback.print_exc()
    print(hosts.OTHERS_ARE_GONE, file=sys.stderr, flush=True)
    os._exit(hosts.GONE_EXIT_CODE)


# ------------------------------------------------------------------ how a command begins


def parse_flags(before_data: Callable[[], None] = lambda: None) -> None:
    """Parses as absl does, with one sentence for an error, and exit code 0 after --help.

    Comes when all flags are defined, and before what takes long to import.

    Args:
      before_data: called before a folder of data is looked at, which may take a while.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # else somebody has put something in its place
        sys.stdout.reconfigure(errors="backslashreplace")  # as that of stderr
    _show_log_lines()
    _tell_of_faulty_jax()
    app.define_help_flags()
    _ARGUMENTS[:] = _parsed(sys.argv, before_data)
    gc.disable()  # until `run`: while modules are imported nothing becomes garbage


def _parsed(arguments: list[str], before_data: Callable[[], None]) -> list[str]:
    """The arguments without the flags in them."""
    try:
        given = data_flags.read(arguments)
        if of_data := data_flags.config_flag(given):
            before_data()
        arguments = _with_recipe_paths([*arguments[:1], *of_data, *arguments[1:]])
        for changes in _CHANGES:
            changes.define(arguments)
        _show_all_flags_in_help()
        remaining = flags.FLAGS(arguments)
        boolean_flags.check(flags.FLAGS, arguments)
        data_flags.check(given)
        if "config" in flags.FLAGS and (_CHANGES or flags.FLAGS["config"].present):
            _check_config()
            overrides.check(flags.FLAGS)
        return remaining
    except SystemExit:  # absl has printed help
        sys.exit(0)
    except Exception as error:
        sentence = sentence_of_parsing(error)
        if sentence is None:
            _end(error)
        _refuse(sentence)


def sentence_of_parsing(error: BaseException) -> str | None:
    """An error in the flags or in a configuration's file as a sentence; None for our own bug.

    What absl and ml_collections say is passed on as it is.
    """
    raised = _of_get_config(error)
    if isinstance(raised or error, UserError):
        return str(raised or error)
    if raised is None and isinstance(error, flags.Error):
        return f"{_in_one_line(error)} (--help lists the flags)."
    if raised is None and isinstance(error, AttributeError | KeyError):
        # Its text, or an error that has it: as text of the upper one it is quoted once more.
        beneath = error.args[0]
        words = str(beneath.args[0] if isinstance(beneath, KeyError) else beneath).splitlines()
        told = f"No such key in the configuration: {'. '.join(words)}"
        found = [advice for key, advice in keys.REPLACED.items() if repr(key) in told]
        return f"{told}; {found[0]}" if found else told
    # What says by itself what is wrong; of what the code of a file brings, that is a ValueError.
    plain = (ValueError,) if raised else (ValueError, TypeError, OSError, SyntaxError, ImportError)
    error, unread = raised or error, "The configuration cannot be read: "
    if isinstance(error, plain):
        return unread + _in_one_line(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    if _ROOT in pathlib.Path(place.filename).resolve().parents:
        return None
    where = f"{place.filename}:{place.lineno}: {type(error).__name__}: "
    return unread + where + _in_one_line(error)


def _of_get_config(error: BaseException | None) -> BaseException | None:
    """The error that a configuration's `get_config` raised, beneath those of the libraries."""
    while error is not None:
        if any(frame.name == "get_config" for frame in traceback.extract_tb(error.__traceback__)):
            return error
        error = error.__context__
    return None


def _in_one_line(error: BaseException) -> str:
    """What an error says; of what quotes a long flag the beginning and the end."""
    text = " ".join(str(error).split())
    return (
        text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    )


def _with_recipe_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the file of a configuration where `--config` gives its name.

    Raises:
      ValueError: it gives a name that is none, or a file that is not there.
    """
    changed = list(arguments)
    for place, argument in enumerate(arguments):
        flag, separator, value = argument.partition("=")
        if flag not in ("--config", "-config"):
            continue
        if not separator and place + 1 < len(arguments):  # the next one is the value
            place, flag, value = place + 1, "", arguments[place + 1]
        name, colon, word = value.partition(":")
        if pathlib.Path(name).exists():
            continue
        if not re.fullmatch(r"\w+", name):
            names = ", ".join(configs.recipes())
            raise ValueError(f"There is no configuration file {name}; ours are {names}.")
        changed[place] = f"{flag}{separator}{configs.recipe_path(name)}{colon}{word}"
    return changed


def _check_config() -> None:
    """Reads the configuration, since only then a missing file is reported."""
    config = flags.FLAGS.config
    if not hasattr(config, "copy_and_resolve_references"):
        raise TypeError("its get_config must return an ml_collections.ConfigDict.")


def _refuse(sentence: str) -> NoReturn:
    print(f"Error: {printable_lines(sentence)}", file=sys.stderr)
    sys.exit(USER_ERROR)


def _show_log_lines() -> None:
    """Shows this package's log lines and no others."""
    log_lines.show()
    # Orbax tells every step of every save, and shows in each of its threads what goes wrong; that
    # is raised as well.
    absl.logging.set_verbosity(absl.logging.FATAL)


def _show_all_flags_in_help() -> None:
    """Makes --help list the command's flags, including those defined outside its main module."""
    for module, of_module in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith(("ioub_jax.", "experiments.")):
            for flag in of_module:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


#: Versions that pyproject.toml excludes, and why.
FAULTY_JAX = {
    "0.10.2": "computes wrong numbers and may crash on CPUs (jax issues 39103 and 39257)",
    "0.11.0": "may crash on CPUs (jax issue 39257)",
}


def _tell_of_faulty_jax() -> None:
    """Reports in one sentence an installed jax that must not be used on a CPU."""
    for package in ("jaxlib", "jax"):  # jax takes some jaxlibs of other versions
        version = importlib.metadata.version(package)  # without importing it
        fault = FAULTY_JAX.get(version)
        if fault is not None:
            logging.getLogger("ioub_jax").warning(
                "%s %s %s; install another: pip install -U 'jax!=0.10.2,!=0.11.0' "
                "'jaxlib!=0.10.2,!=0.11.0'",
                package,
                version,
                fault,
            )
            return


def _keep_compiled_programs() -> None:
    """Keeps compiled programs in a folder, from which they are read the next time."""
    jax = sys.modules.get("jax")  # a command that computes has imported it when it runs
    if jax is not None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = caches.cache_folder() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))


def run(
    main: Callable[..., None],
    dry_run: Callable[..., Iterable[str]],
    choices: Sequence[str] = (),
    *,
    least_arguments: int | None = None,
) -> None:
    """Runs a command whose flags are parsed or, with --dry_run, prints what it would do.

    Ends with exit code 0, or as docs/commands.md says.

    Args:
      main: the command.
      dry_run: takes what `main` takes; checks what can be checked without doing the work, raises
        as `main` would, writes nothing, and gives the lines that say what `main` would do.
      choices: where there are any, the command takes one of them as its one argument.
      least_arguments: how many arguments besides its flags the command takes at least; None: it
        takes none.
    """
    _keep_compiled_programs()
    # What was imported stays to the end: no collection has to look through it, which takes a fifth
    # off the tracing of a model.
    gc.freeze()
    gc.enable()

    def checked(arguments: Sequence[str]) -> None:
        words = arguments[1:]
        if choices and (len(words) != 1 or words[0] not in choices):
            _refuse(f"Say what to do: one of {', '.join(choices)}.")
        if len(words) < (least_arguments or 0):
            _refuse("Say what to work on: files, folders or globs after the flags.")
        if words and not choices and least_arguments is None:
            _refuse(f"Unknown argument {words[0]!r}; every option is a --flag=value.")
        try:
            if _DRY_RUN.value:
                lines = list(dry_run(*words))
                if lines:  # only the first of several processes has any
                    lines = [*map(printable, lines), "This was a dry run: nothing was written."]
                    print("\n".join(lines))
            else:
                main(*words)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            _end(error)

    app.run(checked, flags_parser=lambda _: _ARGUMENTS)
