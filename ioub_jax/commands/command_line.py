"""Common frame of all commands: flags, log lines, and one sentence for a user's error.

A command defines its flags, calls `parse_flags`, imports its modules, and then calls `run`. In this
order, `--help` and errors in the flags do not have to wait for the import of jax. For the same
reason, this module does not import jax, not even indirectly.
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
    """Defines the flag --config of a command that starts from a configuration file."""
    holder = config_flags.DEFINE_config_file(
        "config",
        None,
        "The name of a configuration, or a file with a get_config, with its arm after a colon.",
        lock_config=True,
    )
    if required:
        flags.mark_flag_as_required("config")
    return holder


# The calls of `define_changes`: the flags can be defined only when the others are parsed.
_CHANGES: list[overrides.Changes] = []
# The command line without its flags, set once they are parsed.
_ARGUMENTS: list[str] = []


def define_changes(run_flag: str) -> overrides.Changes:
    """Defines the flags --config.KEY=VALUE of a command that uses the run named by another flag."""
    _CHANGES.append(overrides.Changes(run_flag))
    return _CHANGES[-1]


def define_run() -> tuple[flags.FlagHolder, flags.FlagHolder, flags.FlagHolder, flags.FlagHolder]:
    """Defines --workdir, --checkpoint, --ema and --split for a command that inspects a run."""
    workdir = flags.DEFINE_string("workdir", None, "The folder of the run.", required=True)
    return (workdir, *define_weights(), define_split())


def define_weights() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Defines the flags --checkpoint and --ema of a command that uses a run's weights."""
    return (
        flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "Checkpoint of the workdir."),
        flags.DEFINE_bool(
            "ema", True, "Whether to use the moving average of the weights, if the run keeps one."
        ),
    )


def define_split(default: str = "val") -> flags.FlagHolder:
    """Defines the flag --split of a command that reads a data set."""
    return flags.DEFINE_enum("split", default, ["train", "val", "test"], "The images to use.")


def define_processes() -> None:
    """Defines the flags of a command that several processes may run together."""
    flags.DEFINE_string(
        "coordinator_address", None, "HOST:PORT of the first process; unset on TPU pods and SLURM."
    )
    flags.DEFINE_integer(
        "num_processes", None, "Number of processes that run this command together."
    )
    flags.DEFINE_integer("process_id", None, "The number of this process, from 0.")


def join_processes() -> None:
    """Joins the processes named by these flags, a TPU pod or SLURM; only the first one prints.

    Raises:
      ConfigError: the flags contradict each other, or the processes do not find each other.
    """
    from ioub_jax.devices import hosts  # imports jax, for which --help must not wait

    values = flags.FLAGS
    hosts.join(values.coordinator_address, values.num_processes, values.process_id)
    if not hosts.is_first():
        logging.getLogger("ioub_jax").setLevel(logging.WARNING)


# ------------------------------------------------------------------ how a command ends

# At most this many characters of a library's message are shown.
_LONGEST = 1000

#: Exit codes besides 0 and `hosts.GONE_EXIT_CODE`; docs/commands.md documents them.
USER_ERROR, BUG = 1, 2


def sentence_of(error: BaseException) -> str | None:
    """An error as one sentence for the user; None for a bug, for which a traceback is printed."""
    if isinstance(error, UserError):
        return str(error)
    return machine.sentence_of(error)


def _end(error: BaseException) -> NoReturn:
    """Prints an error and ends the process with its exit code."""
    if isinstance(error, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr, flush=True)
        if _has_others():  # an orderly exit would wait for them
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
    """True if the reader of the output is gone, as after `| head`; discards all further output."""
    poll, numbers = select.poll(), (sys.stdout.fileno(), sys.stderr.fileno())
    for number in numbers:
        poll.register(number, 0)
    gone = [number for number, event in poll.poll(0) if event & select.POLLERR]
    for number in gone:  # Python flushes the streams when it ends, which would fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return bool(gone)


def _may_be_of_another_process(error: BaseException) -> bool:
    """True if an error comes from jax and there are several processes."""
    return _has_others() and isinstance(error, sys.modules["jax"].errors.JaxRuntimeError)


def _has_others() -> bool:
    """True if this is one of several processes."""
    jax = sys.modules.get("jax")  # jax may not have been imported yet
    return jax is not None and bool(jax.distributed.is_initialized())


def _end_without_the_others(sentence: str | None) -> NoReturn:
    """Ends this process at once, since an orderly exit would wait for a process that is gone."""
    from ioub_jax.devices import hosts  # imports jax, as in `join_processes`

    if sentence is not None:  # this process's own error, not the loss of another one
        print(f"Error: {sentence}", file=sys.stderr, flush=True)
        os._exit(USER_ERROR)
    traceback.print_exc()
    print(hosts.OTHERS_ARE_GONE, file=sys.stderr, flush=True)
    os._exit(hosts.GONE_EXIT_CODE)


# ------------------------------------------------------------------ how a command begins


def parse_flags(before_data: Callable[[], None] = lambda: None) -> None:
    """Parses the flags with absl; prints one sentence for an error, and exits with 0 after --help.

    Must be called after all flags are defined, and before slow imports.

    Args:
      before_data: called before a folder of data is inspected, which may take a while.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # stdout may have been replaced
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr
    _show_log_lines()
    _tell_of_faulty_jax()
    app.define_help_flags()
    _ARGUMENTS[:] = _parsed(sys.argv, before_data)
    gc.disable()  # until `run`, since imports leave no garbage


def _parsed(arguments: list[str], before_data: Callable[[], None]) -> list[str]:
    """Parses the command line; returns the arguments that are not flags."""
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
    """An error in the flags or a configuration file as a sentence; None for a bug of this package.

    The messages of absl and ml_collections are passed on unchanged.
    """
    raised = _of_get_config(error)
    if isinstance(raised or error, UserError):
        return str(raised or error)
    if raised is None and isinstance(error, flags.Error):
        return f"{_in_one_line(error)} (--help lists the flags)."
    if raised is None and isinstance(error, AttributeError | KeyError):
        # The argument is the message or a KeyError with the message. The innermost message is used,
        # since each KeyError around it adds quotes.
        beneath = error.args[0]
        words = str(beneath.args[0] if isinstance(beneath, KeyError) else beneath).splitlines()
        told = f"No such key in the configuration: {'. '.join(words)}"
        found = [advice for key, advice in keys.REPLACED.items() if repr(key) in told]
        return f"{told}; {found[0]}" if found else told
    # Errors whose message is enough; of the errors raised by a file's own code, only ValueError is.
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
    """The error raised in a configuration's `get_config`, below errors of libraries, or None."""
    while error is not None:
        if any(frame.name == "get_config" for frame in traceback.extract_tb(error.__traceback__)):
            return error
        error = error.__context__
    return None


def _in_one_line(error: BaseException) -> str:
    """The message of an error; the beginning and the end of a long one, such as of a long flag."""
    text = " ".join(str(error).split())
    return (
        text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    )


def _with_recipe_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, in which names of configurations in `--config` are replaced by their files.

    Raises:
      ValueError: `--config` names a file that does not exist.
    """
    changed = list(arguments)
    for place, argument in enumerate(arguments):
        flag, separator, value = argument.partition("=")
        if flag not in ("--config", "-config"):
            continue
        if not separator and place + 1 < len(arguments):  # the next argument is the value
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
    """Reads the configuration, since a missing file is reported only then."""
    config = flags.FLAGS.config
    if not hasattr(config, "copy_and_resolve_references"):
        raise TypeError("its get_config must return an ml_collections.ConfigDict.")


def _refuse(sentence: str) -> NoReturn:
    print(f"Error: {printable_lines(sentence)}", file=sys.stderr)
    sys.exit(USER_ERROR)


def _show_log_lines() -> None:
    """Shows this package's log lines and no others."""
    log_lines.show()
    # Orbax logs every step of every save, and every failure in each of its threads, which it also
    # raises.
    absl.logging.set_verbosity(absl.logging.FATAL)


def _show_all_flags_in_help() -> None:
    """Makes --help list the command's flags, including those defined outside its main module."""
    for module, of_module in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith(("ioub_jax.", "experiments.")):
            for flag in of_module:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


#: Versions that pyproject.toml excludes, with the reasons.
FAULTY_JAX = {
    "0.10.2": "computes wrong numbers and may crash on CPUs (jax issues 39103 and 39257)",
    "0.11.0": "may crash on CPUs (jax issue 39257)",
}


def _tell_of_faulty_jax() -> None:
    """Warns in one sentence of an installed jax that must not be used on a CPU."""
    for package in ("jaxlib", "jax"):  # their versions may differ
        version = importlib.metadata.version(package)  # does not import the package
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
    """Makes jax store compiled programs in the cache folder, to read them the next time."""
    jax = sys.modules.get("jax")  # a command that needs jax has imported it by now
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

    The exit codes are documented in docs/commands.md.

    Args:
      main: the command.
      dry_run: takes the arguments of `main`; checks what can be checked without doing the work,
        raises the errors that `main` would raise, writes nothing, and returns lines that say what
        `main` would do.
      choices: if not empty, the command takes one of these words as its only argument.
      least_arguments: the least number of arguments, besides flags, that the command takes; None if
        it takes no arguments.
    """
    _keep_compiled_programs()
    # Imported objects live until the end, so the garbage collector need not traverse them. This
    # saves a fifth of the time to trace a model.
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
                if lines:  # only the first of several processes prints lines
                    lines = [*map(printable, lines), "This was a dry run: nothing was written."]
                    print("\n".join(lines))
            else:
                main(*words)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            _end(error)

    app.run(checked, flags_parser=lambda _: _ARGUMENTS)
