"""The line that says how far a pass over a file is."""

import io

from cosmictagger_tf.inference.progress import Progress


def test_it_counts_says_how_fast_and_ends():
    shown = io.StringIO()
    progress = Progress(8, "scored", shown)
    progress.began = progress.shown = progress.began - 20
    progress.advance(2)
    assert shown.getvalue().startswith("scored 2/8 events  0.10 images/s  ") and "left" in shown.getvalue()
    progress.advance(1)
    assert len(shown.getvalue().splitlines()) == 1, "no more than one line in ten seconds"
    # Fillers count, but there are no more events than there are.
    progress.advance(100)
    assert shown.getvalue().splitlines()[-1].startswith("scored 8/8 events")


def test_before_the_first_event_there_is_nothing_to_say():
    shown = io.StringIO()
    progress = Progress(8, "scored", shown)
    progress.shown -= 20
    progress.advance(0)
    assert shown.getvalue() == ""
