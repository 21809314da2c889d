"""Cuts on readouts, as text."""

import numpy as np
import pytest

from cosmictagger_tf.config.cuts import QUANTITIES, Condition, Cut, parse_cuts
from cosmictagger_tf.errors import ConfigError

PIXELS = np.array([3, 10, 11, 40])
ROWS = np.array([np.nan, 5.0, 4.9, 60.0])


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("pixels>10", [False, False, True, True]),
        ("pixels>=10", [False, True, True, True]),
        ("pixels<10", [True, False, False, False]),
        ("rows<=5", [False, True, True, False]),
        ("rows>0", [False, True, True, True]),
        (" pixels > 10 , rows < 5 ", [False, False, True, False]),
        ("pixels>2,pixels<11,rows>=5", [False, True, False, False]),
    ],
)
def test_a_cut_keeps_the_readouts_for_which_all_conditions_hold(text, passed):
    (cut,) = parse_cuts(text)
    assert cut.passed({"pixels": PIXELS, "rows": ROWS}).tolist() == passed


def test_several_cuts_and_none():
    assert [str(cut) for cut in parse_cuts("pixels>10; pixels>5,rows<=50")] == ["pixels>10", "pixels>5,rows<=50"]
    assert parse_cuts("") == parse_cuts("  ") == ()


@pytest.mark.parametrize("value", [0.1 + 0.2, float(np.float32(0.9)), 1e-12, 50.0, -3.0])
def test_the_text_of_a_cut_reads_back_as_the_same_cut(value):
    cut = Cut((Condition("probability", ">", value),))
    assert parse_cuts(str(cut)) == (cut,)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # The shell takes an unquoted >10 for the name of a file.
        ("pixels", "--cut: 'pixels' is no condition; give quoted conditions, such as --cut='pixels>10,rows<5'"),
        ("pixels>10,", "--cut: '' is no condition"),
        ("pixels>10;", "--cut: '' is no condition"),
        ("pixels=10", "--cut: 'pixels=10' is no condition"),
        ("1<pixels<10", "--cut: '1<pixels<10' is no condition"),
        (
            "charge>10",
            f"--cut: there is no quantity 'charge' (there are: {', '.join(QUANTITIES)})",
        ),
        ("pixels>ten", "--cut=pixels>ten: 'ten' is no finite number"),
        ("pixels>nan", "--cut=pixels>nan: 'nan' is no finite number"),
        ("pixels>inf", "--cut=pixels>inf: 'inf' is no finite number"),
    ],
)
def test_what_is_no_cut_is_one_clear_line(text, line):
    with pytest.raises(ConfigError) as refused:
        parse_cuts(text)
    assert str(refused.value).startswith(line) and "\n" not in str(refused.value)


def test_a_quantity_that_the_network_does_not_give_is_named():
    (cut,) = parse_cuts("pixels>10,probability>0.9")
    cut.check_quantities(set(QUANTITIES))
    with pytest.raises(ConfigError, match=r"this network gives no probability \(it gives: pixels, rows\)"):
        cut.check_quantities({"rows", "pixels"})
