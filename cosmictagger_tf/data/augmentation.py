"""Events changed at random as nature might have: for training only, at full resolution, before the downsampling.

Rows 0 and height - 1 are the anodes of SBND's two TPCs, the cathode lies between them in the middle, and the induction
planes 0 and 1 exchange their wire angles from one TPC to the other. Hence:

- a flip along time is the mirror at the cathode. It brings a deposit into the other TPC, where the wires of plane 0 run
  as those of plane 1 did: rows are reversed and the two induction planes exchanged. (Neither cosmic rays, which come
  from above, nor the beam, which runs along the columns, prefer a side of the cathode. A flip along the wires would
  turn the beam around: there is none.)
- a shift along time is another drift time: towards the cathode or away from it in both TPCs alike. What would leave its
  half of the image is cut off, as the readout window cuts it.
- the gain is one factor a plane, the noise is Gaussian, with a width of its own for each plane.

Where a pixel goes, its class goes too; no class is ever changed.
"""

from dataclasses import dataclass, replace

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.detector import ADC_THRESHOLD, SBND_PLANES

# Our choice, small against what the detector itself varies: a threshold of 5 ADC, events of 1280 ticks.
MOST_SHIFT = 8
GAIN_SPREAD = 0.05
GAIN_BOUNDS = (0.8, 1.2)
MOST_NOISE = 2.0

_MIRRORED_PLANES = (1, 0, 2)


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
        """The changed event; its labels move with its pixels."""
        image = [self._measure(pixels, plane) for plane, pixels in enumerate(event.image)]
        moved = [self._move(pixels, event.shape.height) for pixels in image]
        label = None
        if event.label is not None:
            label = [
                _follow(classes, pixels, there) or self._move(classes, event.shape.height)
                for classes, pixels, there in zip(event.label, event.image, moved, strict=True)
            ]
        pixels = tuple(there.pixels for there in moved)
        classes = tuple(there.pixels for there in label) if label is not None else None
        return replace(event, image=self._planes(pixels), label=self._planes(classes))

    def _planes(self, planes):
        if planes is None or not self.flip or len(planes) != SBND_PLANES:
            return planes
        return tuple(planes[plane] for plane in _MIRRORED_PLANES)

    def _measure(self, pixels, plane) -> PlanePixels:
        # Each plane's noise is its own stream, so that it does not depend on how many pixels the others have.
        noise = np.random.default_rng([*self.seed, plane]).normal(0.0, self.noise[plane], len(pixels))
        values = (pixels.values * self.gains[plane] + noise).astype(np.float32)
        # Only what is above threshold is ever stored.
        return PlanePixels(pixels.rows, pixels.columns, np.maximum(values, np.minimum(pixels.values, ADC_THRESHOLD)))

    def _move(self, pixels, height) -> "_Moved":
        middle = height // 2
        first = pixels.rows < middle
        rows = pixels.rows + np.where(first, self.shift, -self.shift).astype(np.int32)
        kept = np.where(first, (rows >= 0) & (rows < middle), (rows >= middle) & (rows < height))
        rows = height - 1 - rows if self.flip else rows
        return _Moved(PlanePixels(rows[kept], pixels.columns[kept], pixels.values[kept]), kept)


@dataclass(frozen=True)
class _Moved:
    # Where pixels came to lie, and which of the original ones they are.
    pixels: PlanePixels
    kept: np.ndarray


def _follow(classes, pixels, moved) -> _Moved | None:
    # Label and image mostly share their coordinates (see larcv_h5.Sparse2d.read), and go on sharing them.
    if classes.rows is not pixels.rows or classes.columns is not pixels.columns:
        return None
    there = moved.pixels
    return _Moved(PlanePixels(there.rows, there.columns, classes.values[moved.kept]), moved.kept)


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
