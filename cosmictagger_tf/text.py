"""Numbers and lists of things in messages."""

from collections.abc import Iterable
from itertools import islice


def counted(number: float, thing: str, form: str = "") -> str:
    """ "1 plane", "3 planes", "2 entries"; `form` as in format(number, form)."""
    things = f"{thing[:-1]}ies" if thing.endswith("ry") else f"{thing}s"
    return f"{number:{form}} {thing if number == 1 else things}"


def listed(names: Iterable[str], most: int = 12) -> str:
    """The first names, comma-separated; "none" where there is none."""
    names = iter(names)
    shown = list(islice(names, most))
    return ", ".join(shown) + (", ..." if next(names, None) is not None else "") or "none"
