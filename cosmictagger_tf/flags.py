"""absl flags to configs: one flag per config field, defined once, grouped as the dataclasses group them.

The only file that knows absl. A door names the config classes it needs; `parse` returns one config of each.
A fresh FlagValues is used instead of absl's global one, so that no other library's flags mix in.
"""

import textwrap
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from absl import flags as absl_flags

from cosmictagger_tf.config import Config, NetworkConfig, flag_name
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.presets import PRESETS


class HelpRequested(Exception):
    """The user asked for --help."""


class Parsed(NamedTuple):
    """What a command line says.

    Attributes:
        configs: one config of each class that the door named, in its order.
        given: names of the options that were set, by a flag, a flagfile or a preset, and are no mere defaults.
    """

    configs: tuple[Config, ...]
    given: frozenset[str]


def parse(argv: list[str], groups: tuple[type[Config], ...], in_flagfiles: tuple[type[Config], ...] = ()) -> Parsed:
    """The configs that a command line describes.

    Args:
        argv: the arguments, without the program's name. A --flagfile's lines count as if they stood first, so
            that the command line overrides them; a flagfile may name others, relative to itself.
        groups: the config classes whose fields are the allowed flags.
        in_flagfiles: config classes whose fields a flagfile may set as well, without effect: so that a job's flagfile
            serves a door that needs a part of it.

    Raises:
        ConfigError: an unknown flag, an impossible value or combination, a stray argument, a missing flagfile.
        HelpRequested: --help was among the arguments.
    """
    values = _define(groups)
    try:
        rest = values(["door", *_expand_flagfiles(argv, _names(in_flagfiles) - _names(groups))])
    except absl_flags.Error as error:
        raise ConfigError(str(error).replace("\n", " ")) from None
    if values["help"].value:
        raise HelpRequested
    if len(rest) > 1:
        raise ConfigError(f"'{rest[1]}' is no flag: every option is written --name=value")
    given = frozenset(name for name in values if values[name].present)
    if "preset" in given:
        given |= {f.name for f in fields(NetworkConfig)}
    return Parsed(tuple(_build(group, values) for group in groups), given)


def _define(groups):
    values = absl_flags.FlagValues()
    values.set_gnu_getopt(True)
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
    if choices:
        absl_flags.DEFINE_enum(name, f.default, list(choices), help, flag_values=values)
    elif isinstance(f.default, bool):
        absl_flags.DEFINE_bool(name, f.default, help, flag_values=values)
    elif isinstance(f.default, int):
        absl_flags.DEFINE_integer(name, f.default, help, flag_values=values, **bounds)
    elif isinstance(f.default, float):
        absl_flags.DEFINE_float(name, f.default, help, flag_values=values, **bounds)
    elif isinstance(f.default, tuple):
        absl_flags.DEFINE_list(name, list(f.default), help, flag_values=values)
    else:
        absl_flags.DEFINE_string(name, f.default, help, flag_values=values)


def _build(group, values):
    given = {f.name: values[flag_name(f.name)] for f in fields(group) if values[flag_name(f.name)].present}
    chosen = {name: tuple(flag.value) if isinstance(flag.value, list) else flag.value for name, flag in given.items()}
    if group is NetworkConfig:
        chosen = {**PRESETS[values["preset"].value].to_dict(), **chosen}
    return group(**chosen)


def _names(groups) -> set[str]:
    """The flags of config classes, as they may be written."""
    names = {flag_name(f.name): f for group in groups for f in fields(group)}
    return set(names) | {f"no{name}" for name, f in names.items() if isinstance(f.default, bool)}


def _expand_flagfiles(argv, passed_over):
    from_files, rest, arguments = [], [], iter(argv)
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in ("--flagfile", "-flagfile"):
            value = value or next(arguments, "")
            from_files += _read_flagfile(Path(value), ())
        else:
            rest.append(argument)
    return [line for line in from_files if line.lstrip("-").partition("=")[0] not in passed_over] + rest


def _read_flagfile(path, stack):
    try:
        if path.resolve() in stack:
            raise ConfigError(f"--flagfile={path}: the file includes itself")
        lines = [line.strip() for line in path.read_text().splitlines()]
    # A ValueError: not UTF-8, or a NUL in the name.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"--flagfile={path}: {reason}") from None
    if any("\0" in line for line in lines):
        raise ConfigError(f"--flagfile={path}: not a text file")
    found = []
    for line in lines:
        if line.startswith(("--flagfile=", "-flagfile=")):
            found += _read_flagfile(path.parent / line.partition("=")[2], (*stack, path.resolve()))
        elif line and not line.startswith(("#", "//")):
            if not line.startswith("-"):
                raise ConfigError(f"--flagfile={path}: the line '{line}' is no flag (comments begin with #)")
            found.append(line)
    return found


def help_text(module: str, description: str, examples: str, groups: tuple[type[Config], ...]) -> str:
    """The text of --help: what the door does, examples, and its flags by group with defaults and choices."""
    lines = [
        f"python -m cosmictagger_tf.{module} [--flagfile=FILE] [--flag=value ...]",
        "",
        textwrap.fill(" ".join(description.split()), 112),
        "",
    ]
    lines += ["Examples:", *(f"  {line.strip()}" for line in examples.strip().splitlines()), ""]
    for group in groups:
        lines.append(f"{(group.__doc__ or '').splitlines()[0]}:")
        if group is NetworkConfig:
            lines += _flag_lines(
                "preset", "uresnet", "architecture whose values the flags below override", tuple(PRESETS)
            )
        for f in fields(group):
            lines += _flag_lines(flag_name(f.name), f.default, f.metadata["help"], f.metadata["choices"])
        lines.append("")
    lines += ["A flagfile holds one flag a line; the command line overrides it. Booleans: --flag or --noflag."]
    return "\n".join(lines)


def _flag_lines(name, default, help, choices):
    shown = ",".join(default) if isinstance(default, tuple) else default
    shown = {True: "yes", False: "no"}[default] if isinstance(default, bool) else shown
    head = f"  --{'[no]' if isinstance(default, bool) and not name.startswith('no_') else ''}{name}"
    tail = f"{help}{' <' + '|'.join(choices) + '>' if choices else ''}"
    tail += f" (default: {shown})" if shown not in ("", None) else ""
    body = textwrap.wrap(tail, 78)
    first = f"{head:<34}{body[0]}" if len(head) < 34 else head
    return [first, *(" " * 34 + line for line in (body[1:] if len(head) < 34 else body))]
