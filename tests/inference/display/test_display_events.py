"""display: pictures, and the page in a real browser."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.figure import Figure

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.inference.display.event_page import build_figure, write_page
from cosmictagger_tf.inference.evaluate.curves import ScoreHistogram
from cosmictagger_tf.inference.evaluate.report_plots import curves
from cosmictagger_tf.inference.event_figure import draw_event, save_figure
from cosmictagger_tf.inference.event_picture import take_picture
from tests.commands import refusal, run_module

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# What a user does with the page: zooms in one panel, then switches a class off; then it says what became of the rest.
DRIVE = """
<script>
window.addEventListener('load', async () => {
  const graph = document.querySelector('.js-plotly-plot'), state = {};
  await Plotly.relayout(graph, {'yaxis.range[0]': 700, 'yaxis.range[1]': 500});
  const axes = graph._fullLayout;
  state.times = Object.keys(axes).filter(n => n.startsWith('yaxis')).map(n => axes[n].range);
  await Plotly.relayout(graph, {'xaxis2.range[0]': 300, 'xaxis2.range[1]': 400});
  state.wires = Object.fromEntries(Object.keys(axes).filter(n => n.startsWith('xaxis')).map(n => [n, axes[n].range]));
  state.dots = ['x2', 'x3'].map(x => graph._fullData.find(t => t.xaxis === x).marker.size);
  const before = graph._fullData.filter(t => t.visible === true).length;
  const item = [...graph.querySelectorAll('.legendtext')].find(t => t.textContent === 'neutrino');
  const box = item.closest('.traces').querySelector('.legendtoggle');
  for (const kind of ['mousedown', 'mouseup']) box.dispatchEvent(new MouseEvent(kind, {bubbles: true}));
  await new Promise(done => setTimeout(done, 1500));
  const hidden = graph._fullData.filter(t => t.visible === 'legendonly');
  state.hidden = [...new Set(hidden.map(t => t.name))];
  state.hiddenTraces = hidden.length;
  state.traces = before;
  const out = document.createElement('pre');
  out.id = 'state';
  out.textContent = JSON.stringify(state);
  document.body.append(out);
});
</script>
"""


def browse(path, profile, action):
    """What headless Chromium prints of a page, for --dump-dom, or does with it, for --screenshot=<file>."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]
    flags += [
        "--window-size=1500,1400",
        "--virtual-time-budget=30000",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--hide-scrollbars",
        action,
    ]
    done = subprocess.run([CHROMIUM, *flags, f"file://{path}"], capture_output=True, text=True, timeout=300)
    return done.stdout


@pytest.fixture(scope="module")
def drawn(run, simulated_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for kind in ("png", "pdf", "html"):
        where = [f"--display_dir={folder}", f"--display_format={kind}"]
        run_module("display", *run, f"--file={simulated_file}", "--entries=3", *where)
    return folder


def test_pictures_of_every_kind_are_written(drawn):
    assert (drawn / "event_3.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (drawn / "event_3.pdf").read_bytes()[:5] == b"%PDF-"
    page = (drawn / "event_3.html").read_text()
    assert not re.findall(r"<script[^>]*\ssrc=|<link[^>]*\shref=", page)


def test_a_file_without_labels_and_no_network_is_drawn_too(unlabelled_file, tmp_path):
    for kind in ("png", "html"):
        where = [f"--display_dir={tmp_path}", f"--display_format={kind}", "--downsample=2"]
        run_module("display", "--nopredict", f"--file={unlabelled_file}", *where)
        assert (tmp_path / f"event_0.{kind}").stat().st_size > 10_000
    assert "has the entries 0 to 9" in refusal("display", "--nopredict", f"--file={unlabelled_file}", "--entries=10")


def test_every_plane_is_drawn_however_many_there_are():
    one = PlanePixels(np.arange(9, dtype=np.int32), np.arange(9, dtype=np.int32), np.full(9, 30, np.float32))
    picture = take_picture("five", Event(0, (1, 2, 3), (one,) * 5, None, ImageShape(5, 16, 32)), None, 0)
    figure = draw_event(picture)
    marks = [
        len(dots.get_offsets()) for axis in figure.axes for dots in axis.collections if len(dots.get_offsets()) == 9
    ]
    assert len(marks) == 5
    axes = Figure().subplots(1, 2)
    scores = ScoreHistogram(5)
    for plane in range(5):
        scores.fill(plane, np.linspace(0, 1, 9, dtype=np.float32), np.arange(9) % 3)
    curves(axes, scores)
    names = [line.get_label().partition(",")[0] for line in axes[0].lines]
    assert names[:6] == [*(f"plane {p}" for p in range(5)), "all planes"]


def test_stored_pixels_without_positive_charge_are_drawn_too():
    at = np.arange(6, dtype=np.int32)
    charge = PlanePixels(at, at, np.array([-40, -1, 0, 6, 50, 900], np.float32))
    classes = PlanePixels(at, at, np.array([0, 2, 0, 1, 0, 1], np.float32))
    picture = take_picture("x", Event(0, (1, 2, 3), (charge,), (classes,), ImageShape(1, 16, 32)), None, 0)
    figure = draw_event(picture)
    charge_axis, truth_axis = figure.axes[:2]
    assert "charge 0 or negative" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(len(dots.get_offsets()) for dots in charge_axis.collections) == [3, 3]
    # Background (of whatever charge), cosmic, neutrino.
    assert [len(dots.get_offsets()) for dots in truth_axis.collections] == [3, 2, 1]
    page = build_figure(picture)
    points = {trace.name: sorted(trace.x) for trace in page.data}
    assert points["charge 0 or negative"] == [0, 1, 2] and points["log10(ADC)"] == [3, 4, 5]
    assert points["noise, background"] == [0, 2, 4]
    ordinary = take_picture("x", Event(0, (1, 2, 3), (classes,), (classes,), ImageShape(1, 16, 32)), None, 2)
    assert ordinary.planes[0].stored.all()


@pytest.mark.parametrize("name", ["two$ and $more.h5", "a_b^c\\frac.h5", "<script>alert('$1')</script> & co.h5"])
def test_a_title_is_shown_as_it_is(name, tmp_path):
    one = PlanePixels(np.arange(9, dtype=np.int32), np.arange(9, dtype=np.int32), np.full(9, 30, np.float32))
    picture = take_picture(name, Event(0, (1, 2, 3), (one,) * 3, None, ImageShape(3, 16, 32)), None, 0)
    figure = draw_event(picture)
    assert figure.get_suptitle() == name
    save_figure(figure, tmp_path / "event.pdf")
    write_page(picture, tmp_path / "event.html")
    page = (tmp_path / "event.html").read_text(encoding="utf-8")
    assert f"<title>{html.escape(name)}</title>" in page and "<script>alert" not in page


def test_an_event_is_called_by_its_own_file(simulated_file, tmp_path):
    other = tmp_path / "other.h5"
    shutil.copy(simulated_file, other)
    where = ["--entries=10", "--display_format=html", f"--display_dir={tmp_path}"]
    run_module("display", "--nopredict", f"--file={simulated_file},{other}", *where)
    assert "other.h5, entry 10" in (tmp_path / "event_10.html").read_text()


@pytest.mark.chromium
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path (Debian: apt-get install chromium)")
def test_in_a_browser_the_time_axes_are_linked_and_classes_switched(drawn, tmp_path):
    page = tmp_path / "driven.html"
    page.write_text((drawn / "event_3.html").read_text().replace("</body>", DRIVE + "</body>"))
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    state = json.loads(re.search(r'<pre id="state">(.*?)</pre>', dom).group(1))
    # Four rows (charge, truth, prediction, score) of three planes.
    assert len(state["times"]) == 12 and all(times == [700, 500] for times in state["times"])
    wires = state["wires"]
    assert len(wires) == 12
    assert all((wires[f"xaxis{i if i > 1 else ''}"] == [300, 400]) == (i % 3 == 2) for i in range(1, 13))
    # Dots grow with their pixels in the panel that was zoomed into.
    assert state["dots"][0] > 10 > state["dots"][1]
    assert state["hidden"] == ["neutrino"] and state["hiddenTraces"] == 6
