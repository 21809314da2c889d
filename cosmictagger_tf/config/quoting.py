"""Options as text: lists, and the lines of a flagfile. What is written is read back the same."""

import csv
import io
import shlex


def split_list(text: str) -> tuple[str, ...]:
    """The items between commas; one that has a comma in it is quoted as in CSV.

    Raises:
        ValueError: an item is empty, or its quotation marks do not match.

    >>> split_list('a.h5,"b,c.h5"')
    ('a.h5', 'b,c.h5')
    """
    if not text.strip():
        return ()
    try:
        quoted = '"' in text
        items = next(csv.reader([text], skipinitialspace=True, strict=True)) if quoted else text.split(",")
    except csv.Error as error:
        raise ValueError(f'{error} (an item with a comma or a quotation mark is written "a,b")') from None
    items = items if quoted else [item.strip() for item in items]
    if "" in items:
        raise ValueError("an item of the list is empty (a name with a comma is quoted: '\"a,b.h5\"')")
    return tuple(items)


def join_list(items: tuple[str, ...]) -> str:
    """The inverse of split_list."""
    special = [item != item.strip() or "," in item or '"' in item for item in items]
    quote = '"'
    return ",".join(
        f'"{item.replace(quote, 2 * quote)}"' if quoted else item for item, quoted in zip(items, special, strict=True)
    )


def flag_line(name: str, value) -> str:
    """The line of a flagfile, or the word in a shell, that sets an option."""
    if isinstance(value, bool):
        value = str(value).lower()
    text = join_list(value) if isinstance(value, tuple) else str(value)
    return f"--{name}={shlex.quote(text) if text else ''}"


def words(line: str) -> list[str]:
    """The words of a flagfile's line, as a shell takes them: quotes and backslashes go, a comment begins with # at the
    line's beginning or after a blank.

    Raises:
        ValueError: a quotation mark is not closed.
    """
    stream = io.StringIO(line)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    result: list[str] = []
    while not line[stream.tell() :].lstrip().startswith("#"):
        word = lexer.get_token()
        if word is None:
            break
        result.append(word)
    return result


def readable(name: str) -> str:
    """A file's name for pages, pictures and other text in UTF-8: bytes that are none are shown as in \\xe9."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
