"""absl flags to configs: one flag per config field, defined once, grouped as the dataclasses group them.

The only file that knows absl. A command names the config classes it needs; `parse` returns one config of each.
A fresh FlagValues is used instead of absl's global one, so that no other library's flags mix in.
"""

import codecs
import difflib
import os
from collections.abc import Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags

from cosmictagger_tf.config import Config, NetworkConfig, flag_name
from cosmictagger_tf.config.base import is_switch
from cosmictagger_tf.config.quoting import split_list, words
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.presets import PRESETS

SHOWN: absl_flags.ArgumentSerializer = absl_flags.ArgumentSerializer()


class HelpRequested(Exception):
    """The user asked for --help."""


class Parsed(NamedTuple):
    """What a command line sets.

    Attributes:
        configs: one config of each class that the command named, in its order.
        explicit: the options that were set, by a flag, a flagfile or a preset, and their values, by name.
        chosen: names of the options that stand on the command line, or, with another value than the default, in a
            flagfile that is for this command alone (without `in_flagfiles`).
    """

    configs: tuple[Config, ...]
    explicit: dict[str, Any]
    chosen: frozenset[str]


def parse(argv: list[str], groups: tuple[type[Config], ...], in_flagfiles: tuple[type[Config], ...] = ()) -> Parsed:
    """The configs that a command line describes.

    Args:
        argv: the arguments, without the program's name. A --flagfile's lines count as if they stood first, so
            that the command line overrides them; a flagfile may name others, relative to itself.
        groups: the config classes whose fields are the allowed flags.
        in_flagfiles: config classes whose fields a flagfile may set as well, without effect: so that a job's flagfile
            serves a command that needs a part of it.

    Raises:
        ConfigError: an unknown flag, an impossible value or combination, a stray argument, a missing flagfile.
        HelpRequested: --help was among the arguments.
    """
    values = _define(groups)
    arguments = _arguments(argv, groups, in_flagfiles)
    try:
        rest = values(["command", *(argument.word for argument in arguments)])
    except absl_flags.Error as error:
        raise ConfigError(str(error).removeprefix("flag ").replace("\n", " ")) from None
    if values["help"].value:
        raise HelpRequested
    assert len(rest) == 1, "every word is a flag"
    given = {name for name in values if values[name].present}
    if "preset" in given:
        given |= {f.name for f in fields(NetworkConfig)}
    configs = tuple(_build(group, values) for group in groups)
    options = [(flag_name(f.name), f.default, getattr(config, f.name)) for config in configs for f in fields(config)]
    explicit = {name: value for name, _, value in options if name in given}
    chosen = {argument.name for argument in arguments if not argument.place}
    if not in_flagfiles:
        changed = {name for name, default, value in options if value != default}
        chosen |= changed & {argument.name for argument in arguments}
    return Parsed(configs, explicit, frozenset(chosen))


def _define(groups):
    values = absl_flags.FlagValues()
    for group in groups:
        if group is NetworkConfig:
            absl_flags.DEFINE_enum(
                "preset",
                "uresnet",
                list(PRESETS),
                "architecture whose values the flags below override",
                flag_values=values,
            )
        for f in fields(group):
            _define_one(f, values)
    absl_flags.DEFINE_bool("help", False, "show this help", short_name="h", flag_values=values)
    return values


def _define_one(f, values):
    name, help, choices = flag_name(f.name), f.metadata["help"], f.metadata["choices"]
    bounds = {"lower_bound": f.metadata["minimum"], "upper_bound": f.metadata["maximum"]}
    if is_switch(f):
        parser = _Switch([choice for choice in choices or () if isinstance(choice, str)])
        absl_flags.DEFINE_flag(absl_flags.Flag(parser, SHOWN, name, f.default, help, boolean=True), values)
    elif choices:
        absl_flags.DEFINE_enum(name, f.default, list(choices), help, flag_values=values)
    elif isinstance(f.default, int):
        absl_flags.DEFINE_integer(name, f.default, help, flag_values=values, **bounds)
    elif isinstance(f.default, float):
        absl_flags.DEFINE_float(name, f.default, help, flag_values=values, **bounds)
    elif isinstance(f.default, tuple):
        absl_flags.DEFINE_multi(_List(f.metadata["path"]), SHOWN, name, list(f.default), help, flag_values=values)
    else:
        absl_flags.DEFINE(_Text(f.metadata["path"], bool(f.default)), name, f.default, help, values, SHOWN)


class _Switch(absl_flags.BooleanParser):
    """True, false, or one of some words."""

    def __init__(self, words: list[str]):
        self.words = words

    def parse(self, argument):
        if argument in self.words:
            return argument
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError(f"must be one of {', '.join([*self.words, 'true', 'false'])}") from None


class _Text(absl_flags.ArgumentParser):
    def __init__(self, is_path: bool, required: bool):
        self.is_path, self.required = is_path, required

    def parse(self, argument):
        if self.required and not argument:
            raise ValueError("needs a value")
        return home_expanded(argument) if self.is_path else argument


class _List(absl_flags.ArgumentParser):
    def __init__(self, is_path: bool):
        self.is_path = is_path

    def parse(self, argument):
        items = split_list(argument)
        return tuple(home_expanded(item) for item in items) if self.is_path else items


def home_expanded(path: str) -> str:
    """A path as typed, with the home folder for a leading ~ or ~user; raises ValueError where there is no such user."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError("there is no such user; a name that begins with ~ is written ./~...")
    return expanded


def _build(group, values):
    given = {f.name: values[flag_name(f.name)] for f in fields(group) if values[flag_name(f.name)].present}
    chosen = {
        name: tuple(chain.from_iterable(flag.value)) if isinstance(flag.value, list) else flag.value
        for name, flag in given.items()
    }
    if group is NetworkConfig:
        chosen = {**PRESETS[values["preset"].value].to_dict(), **chosen}
    return group(**chosen)


class _Argument(NamedTuple):
    name: str
    # As absl takes it: --name=value, --name or --noname.
    word: str
    # The same object for all flags of one flagfile, and for all of the command line.
    source: object
    # The flagfile and its line, for messages; "" on the command line.
    place: str


def _arguments(argv, groups, in_flagfiles) -> list[_Argument]:
    """What the command line and its flagfiles give, in order: for each flag that of the last source that has it."""
    own, known = _switches(groups), _switches((*groups, *in_flagfiles))
    from_files: list[_Argument] = []
    from_line: list[_Argument] = []
    for argument in _joined(argv, own, object()):
        if argument.name == "flagfile":
            from_files += _read_flagfile(_flagfile_path(argument, Path()), (), known)
        else:
            from_line.append(argument)
    arguments = [argument for argument in from_files if argument.name in own] + from_line
    last = {argument.name: argument.source for argument in arguments}
    return [argument for argument in arguments if argument.source is last[argument.name]]


def _switches(groups) -> dict[str, bool]:
    """Every flag that config classes make, and whether it is one without a value."""
    names = {flag_name(f.name): is_switch(f) for group in groups for f in fields(group)}
    names |= {"preset": False} if NetworkConfig in groups else {}
    return names | {"flagfile": False, "help": True, "h": True}


def _joined(given: list[str], switches: dict[str, bool], source: object, place: str = "") -> Iterator[_Argument]:
    """The flags that words make: --name=value, --name value, and for a switch --name or --noname."""
    rest = iter(given)
    for word in rest:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            raise ConfigError(f"{place}'{word}' is no flag: every option is written --name=value")
        if name not in switches and switches.get(name.removeprefix("no")) and not equals:
            name = name.removeprefix("no")
        if name not in switches:
            alike = difflib.get_close_matches(name, switches, n=1)
            hint = f": did you mean --{alike[0]}?" if alike else " (--help lists all)"
            raise ConfigError(f"{place}--{name} is no flag of this command{hint}")
        if not switches[name] and not equals:
            value = next(rest, "--")
            if value.startswith("--"):
                raise ConfigError(f"{place}--{name}: needs a value, as in --{name}=...")
            word = f"{word}={value}"
        if "\n" in value or "\r" in value:
            raise ConfigError(f"{place}--{name}={value!r}: an option must not have a line break in it")
        yield _Argument(name, word, source, place)


def _flagfile_path(argument: _Argument, folder: Path) -> Path:
    value = argument.word.partition("=")[2]
    try:
        if not value:
            raise ValueError("needs a value")
        return folder / home_expanded(value)
    except ValueError as error:
        raise ConfigError(f"{argument.place}--flagfile={value}: {error}") from None


def _read_flagfile(path: Path, outer: tuple[Path, ...], switches: dict[str, bool]) -> list[_Argument]:
    """The flags of a flagfile and of those that it names.

    Args:
        path: of the file.
        outer: those that name it, directly or not.
        switches: see _switches.
    """
    arguments: list[_Argument] = []
    source = object()
    for number, line in enumerate(_flagfile_lines(path), start=1):
        place = f"--flagfile={path}, line {number}: "
        try:
            quoted = [] if line.startswith("//") else words(line)
        except ValueError as error:
            raise ConfigError(f"{place}{error}; an apostrophe in a name is written \\'") from None
        for argument in _joined(quoted, switches, source, place):
            if argument.name != "flagfile":
                arguments.append(argument)
                continue
            inner = _flagfile_path(argument, path.parent)
            if inner.resolve() in (path.resolve(), *outer):
                raise ConfigError(f"{place}the file includes itself")
            arguments += _read_flagfile(inner, (path.resolve(), *outer), switches)
    return arguments


def _flagfile_lines(path: Path) -> list[str]:
    # Bytes as the command line has them, so that names which are no UTF-8 can be written; editors on Windows put a mark
    # first, and end lines otherwise.
    try:
        text = os.fsdecode(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    # A ValueError: a NUL in the name.
    except (OSError, ValueError) as error:
        raise ConfigError(f"--flagfile={path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    if "\0" in text:
        raise ConfigError(f"--flagfile={path}: not a text file in UTF-8")
    return [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
