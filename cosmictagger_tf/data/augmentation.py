"""Events changed at random as nature might have: for training only, at full resolution, before the downsampling.

Rows 0 and height - 1 are the anodes of SBND's two TPCs, the cathode lies between them in the middle. Hence:

- a flip along time is the mirror at the cathode: it brings a deposit into the other TPC. The wires of a plane have the
  same angle in both (geometry.py), so that its pixels stay on it, rows reversed. But the layers of
  induction wires change places there, and with them their noise: it goes to the other induction plane. (Neither cosmic
  rays, which come from above, nor the beam, which runs along the columns, prefer a side of the cathode. A flip along
  the wires would turn the beam around: there is none.)
- a shift along time is another drift time: towards the cathode or away from it in both TPCs alike. What would leave its
  half of the image is cut off, as the readout window cuts it.
- the gain is one factor a plane, the noise is Gaussian, with one width a plane.

In images of another shape the cathode's place is not known: they are neither flipped nor shifted.

Where a pixel goes, its class goes too, and so does a vertex in it. No pixel's class is ever changed; the readout's
follows from the neutrino pixels that are left.
"""

from dataclasses import dataclass, replace

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.detector import ADC_THRESHOLD, BACKGROUND, SBND_PLANES, ImageShape
from cosmictagger_tf.geometry import WITHIN

# Our choice, small against what the detector itself varies: a threshold of 5 ADC, events of 1280 ticks.
MOST_SHIFT = 8
GAIN_SPREAD = 0.05
GAIN_BOUNDS = (0.8, 1.2)
MOST_NOISE = 2.0

INDUCTION = (0, 1)
# Rows and wires of the blocks that separate deposits from noise: the pulse of a labelled pixel ends in its own block or
# in one of those around it (FRINGE_ROWS, FRINGE_WIRES of simulation/measures.py).
BLOCK = (8, 4)


@dataclass(frozen=True)
class Augmentation:
    """The change of one event, drawn by `draw`.

    Attributes:
        flip: whether to mirror at the cathode.
        shift: ticks, towards the cathode where positive.
        gains: one factor a plane.
        noise: one width a plane, ADC.
        seed: of the noise.
    """

    flip: bool
    shift: int
    gains: tuple[float, ...]
    noise: tuple[float, ...]
    seed: tuple[int, int]

    def apply(self, event: Event) -> Event:
        """The changed event; its labels move with its pixels, and its vertices with the pixels that they are in."""
        if self.flip and len(event.image) == SBND_PLANES:
            event = exchange_noise(event)
        image = [self._measure(pixels, plane) for plane, pixels in enumerate(event.image)]
        moved = [self._move(pixels, event.shape.height) for pixels in image]
        label = None
        if event.label is not None:
            label = tuple(
                (_follow(classes, pixels, move) or self._move(classes, event.shape.height)).pixels
                for classes, pixels, move in zip(event.label, event.image, moved, strict=True)
            )
        truth = event.truth and event.truth.with_vertices(lambda places: self._move_places(places, event.shape.height))
        return replace(event, image=tuple(move.pixels for move in moved), label=label, truth=truth)

    def in_place(self) -> "Augmentation":
        """The same change without what moves pixels."""
        return replace(self, flip=False, shift=0)

    def _measure(self, pixels, plane) -> PlanePixels:
        # Each plane's noise is its own stream, so that it does not depend on how many pixels the others have.
        noise = np.random.default_rng([*self.seed, plane]).normal(0.0, self.noise[plane], len(pixels))
        values = (pixels.values * self.gains[plane] + noise).astype(np.float32)
        # Only what is above threshold is ever stored.
        return PlanePixels(pixels.rows, pixels.columns, np.maximum(values, np.minimum(pixels.values, ADC_THRESHOLD)))

    def _move(self, pixels, height) -> "_Moved":
        rows, kept = self._shift(pixels.rows, height)
        rows = height - 1 - rows if self.flip else rows
        return _Moved(PlanePixels(rows[kept], pixels.columns[kept], pixels.values[kept]), kept)

    def _move_places(self, places, height) -> np.ndarray:
        # Of real numbers [..., 2] whose whole parts are the pixel; NaN where they are cut off.
        rows, kept = self._shift(places[..., 0], height)
        if self.flip:
            within, pixels = np.modf(rows)
            # A place on the edge of a pixel stays in its pixel.
            rows = height - 1 - pixels + np.minimum(1 - within, 1 - WITHIN)
        return np.where(kept[..., None], np.stack([rows, places[..., 1]], axis=-1), np.nan)

    def _shift(self, rows, height) -> tuple[np.ndarray, np.ndarray]:
        # The rows, each shifted in its half of the image, and which of them stay in it.
        middle = height // 2
        first = rows < middle
        rows = rows + np.where(first, self.shift, -self.shift).astype(np.int32)
        return rows, np.where(first, (rows >= 0) & (rows < middle), (rows >= middle) & (rows < height))


@dataclass(frozen=True)
class _Moved:
    # Where pixels came to lie, and which of the original ones they are.
    pixels: PlanePixels
    kept: np.ndarray


def _follow(classes, pixels, moved) -> _Moved | None:
    # Label and image mostly share their coordinates (see larcv_h5.Sparse2d.read), and still do afterwards.
    if classes.rows is not pixels.rows or classes.columns is not pixels.columns:
        return None
    return _Moved(replace(moved.pixels, values=classes.values[moved.kept]), moved.kept)


def exchange_noise(event: Event) -> Event:
    """The event with the noise of its induction planes exchanged: the pixels that lie near no labelled one.

    Noise that falls on a deposit's pixel is lost. Without labels nothing is known to be noise: the event as it is.

    Args:
        event: at full resolution, as it was stored: where a shift has cut off the labelled pixels of a deposit, what
            is left around them would pass for noise.
    """
    if event.label is None:
        return event
    image, label = list(event.image), list(event.label)
    near = [_blocks_near(label[plane], event.shape) for plane in INDUCTION]
    shared = all(label[plane].rows is image[plane].rows for plane in INDUCTION)
    picks = _picks(image, near, event.shape)
    label_picks = picks if shared else _picks(label, near, event.shape)
    for own, other in (INDUCTION, INDUCTION[::-1]):
        image[own] = _joined(event.image[own], event.image[other], *picks[own])
        joined = _joined(event.label[own], event.label[other], *label_picks[own])
        label[own] = replace(image[own], values=joined.values) if shared else joined
    return replace(event, image=tuple(image), label=tuple(label))


def _blocks_near(label, shape) -> np.ndarray:
    # Which blocks of the image, and of a margin of one around it, hold a labelled pixel or touch one that does.
    lit = np.zeros((shape.height // BLOCK[0] + 3, shape.width // BLOCK[1] + 3), bool)
    chosen = label.values > BACKGROUND
    lit[label.rows[chosen] // BLOCK[0] + 1, label.columns[chosen] // BLOCK[1] + 1] = True
    for axis in (0, 1):
        lit = lit | np.roll(lit, 1, axis) | np.roll(lit, -1, axis)
    return lit


def _picks(planes, near, shape) -> list[tuple[np.ndarray, np.ndarray]]:
    # For each induction plane which of its own pixels stay, and which of the other one's come.
    places = [(planes[plane].rows, planes[plane].columns) for plane in INDUCTION]
    deposits = [
        n[rows // BLOCK[0] + 1, columns // BLOCK[1] + 1] for n, (rows, columns) in zip(near, places, strict=True)
    ]
    picks = []
    for own, other in (INDUCTION, INDUCTION[::-1]):
        taken = np.zeros((shape.height, shape.width), bool)
        taken[tuple(axis[deposits[own]] for axis in places[own])] = True
        picks.append((deposits[own], ~deposits[other] & ~taken[places[other]]))
    return picks


def _joined(own, other, stay, come) -> PlanePixels:
    pairs = ((getattr(own, name), getattr(other, name)) for name in ("rows", "columns", "values"))
    return PlanePixels(*(np.concatenate([a[stay], b[come]]) for a, b in pairs))


def knows_cathode(shape: ImageShape) -> bool:
    """Whether the cathode is in the middle of images of this shape, at full resolution: SBND's."""
    return shape == ImageShape()


def draw(seed: int, position: int, planes: int) -> Augmentation:
    """The change of the event at a position of the training stream.

    Args:
        seed: of the run.
        position: step * batch size + place in the global batch: neither a resumed run nor another number of ranks
            changes it.
        planes: of the event.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, position]))
    return Augmentation(
        flip=bool(rng.integers(2)),
        shift=int(rng.integers(-MOST_SHIFT, MOST_SHIFT + 1)),
        gains=tuple(np.clip(rng.normal(1.0, GAIN_SPREAD, planes), *GAIN_BOUNDS).tolist()),
        noise=tuple(rng.uniform(0.0, MOST_NOISE, planes).tolist()),
        seed=(seed, position),
    )
