"""Options as text: what is written is read back the same, whatever stands in a file's name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmictagger_tf.config.quoting import flag_line, join_list, readable, split_list, words

# What a name may have; the surrogates are bytes that are no UTF-8. A line break is refused by the flags.
NAMES = st.text(
    st.one_of(
        st.sampled_from(" ,'\"#$~\\=-\udce9"), st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])
    ),
    min_size=1,
)


@given(st.lists(NAMES))
def test_a_list_is_read_back(names):
    assert split_list(join_list(tuple(names))) == tuple(names)


@given(NAMES)
def test_a_line_of_a_flagfile_is_read_back(name):
    assert words(flag_line("output_dir", name)) == [f"--output_dir={name}"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", ()),
        (" ", ()),
        ("a.h5, b.h5", ("a.h5", "b.h5")),
        ('"a,b.h5"', ("a,b.h5",)),
        ('"a,b.h5", "say ""c""",d"e', ("a,b.h5", 'say "c"', 'd"e')),
        ('" a "', (" a ",)),
    ],
)
def test_what_people_write_as_lists(text, items):
    assert split_list(text) == items


@pytest.mark.parametrize(("text", "message"), [("a,", "empty"), (",", "empty"), ('""', "empty"), ('"a,b', "quotation")])
def test_lists_that_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        split_list(text)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("--run_id=first  # best", ["--run_id=first"]),
        ("--file=run#1.h5 #2", ["--file=run#1.h5"]),
        ("--file='a #1.h5'", ["--file=a #1.h5"]),
        ('--output_dir="my runs"', ["--output_dir=my runs"]),
        ("--output_dir my\\ runs\t# all", ["--output_dir", "my runs"]),
        ("  # --run_id=no", []),
        ("", []),
    ],
)
def test_a_flagfiles_lines_are_read_as_a_shell_would(line, read):
    assert words(line) == read


def test_a_quotation_mark_without_its_pair_is_refused():
    with pytest.raises(ValueError, match="quotation"):
        words('--output_dir="my runs')


def test_names_in_other_bytes_are_shown():
    assert readable("d\xfc/lat\udce9.h5") == "d\xfc/lat\\xe9.h5"
