"""The report's pictures of events, as a browser shows them."""

import base64
import io
import json
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.inference.evaluate.report_page import SMALLEST_DOT, STYLE
from cosmictagger_tf.inference.evaluate.report_plots import figure_svg
from cosmictagger_tf.inference.event_figure import draw_event
from cosmictagger_tf.inference.event_picture import DRAWN_COLORS, EventPicture, PlanePicture
from tests.inference.display.test_display_events import CHROMIUM, browse

PANELS = ("charge", "truth", "prediction", "neutrino score")
NO_VERTEX = np.zeros((0, 3, 2))
# Where in the page each raster of a picture is, by picture.
BOXES = """
<script>
window.addEventListener('load', () => {
  const boxes = [...document.querySelectorAll('svg')].map(svg => [...svg.querySelectorAll('image')].map(image => {
    const box = image.getBoundingClientRect();
    return [box.left, box.top, box.right, box.bottom];
  }));
  const out = document.createElement('pre');
  out.id = 'boxes';
  out.textContent = JSON.stringify(boxes);
  document.body.append(out);
});
</script>
"""


def picture(downsample: int) -> EventPicture:
    """Noise, a cosmic track and a short neutrino's on three planes, predicted rightly."""
    shape, rng, planes = ImageShape(), np.random.default_rng(downsample), []
    small = shape.downsampled(downsample)
    for _ in range(shape.planes):
        rows, columns = (rng.integers(0, size, 400) for size in (small.height, small.width))
        along = np.arange(small.width // 2)
        rows = np.concatenate([rows, along * small.height // small.width + 20, np.full(small.width // 20, 10)])
        columns = np.concatenate([columns, along, small.width // 2 + np.arange(small.width // 20)])
        classes = np.repeat(np.int8([0, 1, 2]), [400, len(along), small.width // 20])
        at = (np.float32(axis * 2**downsample + (2**downsample - 1) / 2) for axis in (rows, columns))
        charge = rng.uniform(5, 200, len(rows)).astype(np.float32)
        scores = np.where(classes == 2, 0.9, 0.1).astype(np.float32)
        planes.append(PlanePicture(*at, np.ones(len(rows), bool), charge, classes, classes, scores))
    return EventPicture("an event", tuple(planes), shape, downsample, NO_VERTEX)


@pytest.fixture(scope="module", params=[0, 1, 3])
def drawn(request) -> str:
    """The <svg> of a picture in the report, of a network at some resolution."""
    return figure_svg(draw_event(picture(request.param), SMALLEST_DOT))


def coloured(image, name, least):
    """How many pixels of an RGB(A) raster, 0 to 1, have a class's colour, nearly or paler."""
    rgb = image[..., :3] * image[..., 3:] + 1 - image[..., 3:] if image.shape[-1] == 4 else image
    color = np.array(to_rgb(DRAWN_COLORS[{"cosmic": 1, "neutrino": 2}[name]]))
    white = np.ones(3)
    share = ((white - rgb) @ (white - color)) / ((white - color) @ (white - color))
    off = np.abs(white - rgb - share[..., None] * (white - color)).max(axis=-1)
    return int(((share > least) & (off < 0.08)).sum())


def rasters(svg: str) -> list[np.ndarray]:
    """The images inside an <svg>."""
    data = re.findall(r'href="data:image/png;base64,([^"]+)"', svg)
    return [imread(io.BytesIO(base64.b64decode(text))) for text in data]


def test_every_panel_of_every_plane_has_its_dots(drawn):
    images = [image for image in rasters(drawn) if min(image.shape[:2]) > 50]
    assert sum(coloured(image, "cosmic", 0.9) > 400 for image in images) == 6
    assert sum(coloured(image, "neutrino", 0.9) > 30 for image in images) >= 6
    assert sum((image[..., 3] > 0).sum() > 400 for image in images) >= 12


@pytest.mark.chromium
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path (Debian: apt-get install chromium)")
def test_a_browser_shows_the_dots_of_every_panel(drawn, tmp_path):
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    page.write_text(f"<!DOCTYPE html><style>{STYLE}</style><body><section>{drawn}</section>{BOXES}</body>")
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    (boxes,) = json.loads(re.search(r'<pre id="boxes">(.*?)</pre>', dom).group(1))
    browse(page, tmp_path / "profile", f"--screenshot={shot}")
    screen = imread(shot)
    panels = [screen[int(top) : int(bottom), int(left) : int(right)] for left, top, right, bottom in boxes]
    assert sum(coloured(panel, "cosmic", 0.5) > 100 for panel in panels) >= 6
    assert sum(coloured(panel, "neutrino", 0.5) > 10 for panel in panels) >= 6
    assert all((panel[..., :3].min(axis=-1) < 0.8).sum() > 100 for panel in panels if min(panel.shape[:2]) > 50)


def test_cathode_and_centimetres_are_drawn_where_they_are_known():
    for shape, known in ((ImageShape(), True), (ImageShape(3, 1408, 2048), False), (ImageShape(3, 64, 128), False)):
        none = PlanePicture(*(np.zeros(0, np.float32) for _ in range(2)), np.zeros(0, bool), *[np.zeros(0)] * 4)
        text = figure_svg(draw_event(EventPicture("empty", (none,) * 3, shape, 0, NO_VERTEX)))
        assert ("cathode" in text) == ("apparent x (cm)" in text) == ("along the wires" in text) == known
