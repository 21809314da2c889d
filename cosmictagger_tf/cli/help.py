"""The text of --help."""

import textwrap
from dataclasses import fields

from cosmictagger_tf.config import Config, NetworkConfig, flag_name
from cosmictagger_tf.config.base import choice_names, is_switch
from cosmictagger_tf.networks.presets import PRESETS

HOW_FLAGS_ARE_WRITTEN = """
Booleans: --flag or --noflag. A path may begin with ~. Lists: items with a comma in them are quoted, as in
--file='"a,b.h5",c.h5'; a list given twice adds up. A flagfile holds flags, quoted as in a shell, and comments after #;
the command line overrides it, lists included.
"""


def help_text(module: str, description: str, examples: str, groups: tuple[type[Config], ...]) -> str:
    """The text of --help: what the command does, examples, and its flags by group with defaults and choices."""
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
            lines += _flag_lines(flag_name(f.name), f.default, f.metadata["help"], f.metadata["choices"], is_switch(f))
        lines.append("")
    lines.append(textwrap.fill(" ".join(HOW_FLAGS_ARE_WRITTEN.split()), 112))
    return "\n".join(lines)


def _flag_lines(name, default, help, choices, switch=False):
    shown = ",".join(default) if isinstance(default, tuple) else default
    shown = {True: "yes", False: "no"}[default] if isinstance(default, bool) else shown
    head = f"  --{'[no]' if switch and not name.startswith('no_') else ''}{name}"
    tail = f"{help}{' <' + '|'.join(choice_names(choices)) + '>' if choices else ''}"
    tail += f" (default: {shown})" if shown not in ("", None) else ""
    body = textwrap.wrap(tail, 78)
    first = f"{head:<34}{body[0]}" if len(head) < 34 else head
    return [first, *(" " * 34 + line for line in (body[1:] if len(head) < 34 else body))]
