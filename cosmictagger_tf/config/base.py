"""What every config is made of: options that know their help and bounds, and a dataclass that checks itself."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from cosmictagger_tf.errors import ConfigError

# What float32 and int32, in which the networks compute and count, hold.
LARGEST_FLOAT, LARGEST_INTEGER = 3.4e38, 2**31 - 1


def option(default, help: str, *, choices=None, minimum=None, maximum=None, path=False) -> Any:
    """A dataclass field that knows its help text, its allowed values, its inclusive bounds, and whether it names files.

    Names of files are strings, or tuples of strings, as the system has them: bytes that are no UTF-8 are surrogates.
    """
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum, "path": path}
    return field(default=default, metadata=metadata)


def choice_names(choices) -> list[str]:
    """The values that an option may have, as they are typed."""
    return [choice if isinstance(choice, str) else str(choice).lower() for choice in choices or ()]


def is_switch(f) -> bool:
    """Whether a field's flag is typed --name or --noname, though it may have other values too."""
    return isinstance(f.default, bool) or True in (f.metadata["choices"] or ())


def flag_name(field_name: str) -> str:
    """The flag of a field: its name; a field called `from_`, because Python keeps `from` for itself, is --from."""
    return field_name.removesuffix("_")


def option_values(configs: Iterable["Config"]) -> dict[str, Any]:
    """The values of all options of configs, by the names of their flags."""
    return {flag_name(f.name): getattr(config, f.name) for config in configs for f in fields(config)}


@dataclass(frozen=True)
class Config:
    """Base of all configs: checks each field's choices and bounds, and goes to and from a plain dict."""

    def __post_init__(self):
        for f in fields(self):
            _check_value(flag_name(f.name), getattr(self, f.name), f.metadata)
        self.check()

    def check(self):
        """Rules between fields; raises ConfigError."""

    def to_dict(self) -> dict:
        """A plain dict that json can write."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict):
        """The config that to_dict described; raises ConfigError on a name that is no option."""
        names = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise ConfigError(f"{cls.__name__} has no option {', '.join(unknown)} (written by a newer version?)")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _check_value(name, value, metadata):
    choices, low, high = metadata.get("choices"), metadata.get("minimum"), metadata.get("maximum")
    if choices and value not in choices:
        raise ConfigError(f"--{name}={value}: must be one of {', '.join(choice_names(choices))}")
    if isinstance(value, float) and not abs(value) <= LARGEST_FLOAT:
        raise ConfigError(f"--{name}={value}: must be a finite number, in float32 too")
    if isinstance(value, int) and high is None and abs(value) > LARGEST_INTEGER:
        raise ConfigError(f"--{name}={value}: must be at most {LARGEST_INTEGER}")
    if low is not None and value < low:
        raise ConfigError(f"--{name}={value}: must be at least {low}")
    if high is not None and value > high:
        raise ConfigError(f"--{name}={value}: must be at most {high}")


def with_changes(config, **changes):
    """A copy of a config with some fields changed, validated again."""
    return replace(config, **changes)
