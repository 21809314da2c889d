"""What the whole package shares: the classes of a pixel and the geometry of an image.

Sources: the reference CosmicTagger's README (classes, image size, three wire planes) and, for the larcv3
index convention, the files themselves (an id is a flat index into a (wires, ticks) grid).
"""

from dataclasses import dataclass

from cosmictagger_tf.text import counted

BACKGROUND, COSMIC, NEUTRINO = 0, 1, 2
CLASS_NAMES = ("background", "cosmic", "neutrino")
N_CLASSES = len(CLASS_NAMES)
# Okabe and Ito's colours, distinct with every common colour blindness: white, blue (cosmic), vermillion (neutrino).
CLASS_COLORS = ("#ffffff", "#0072b2", "#d55e00")

# The class of a whole readout, by its neutrino, and the number that stands for an unknown one.
EVENT_CLASS_NAMES = ("nue_cc", "numu_cc", "nc", "cosmic_only")
N_EVENT_CLASSES = len(EVENT_CLASS_NAMES)
NUE_CC, NUMU_CC, NC, COSMIC_ONLY = range(N_EVENT_CLASSES)
# The classes of readouts with a neutrino, as an index of arrays.
NEUTRINO_KINDS = [NUE_CC, NUMU_CC, NC]
UNKNOWN_EVENT_CLASS = -1

# SBND's drift-time and wire axes, and the ADC below which a pixel is not stored.
SBND_TICKS = 1280
SBND_WIRES = 2048
SBND_PLANES = 3
ADC_THRESHOLD = 5.0

# Pixel lists are padded to a common length: a padded pixel has this row and column, and the value 0.
PADDING_COORDINATE = -1


def size_text(height: int, width: int) -> str:
    """An image's size, as messages have it."""
    return f"{counted(height, 'row')} x {counted(width, 'column')}"


@dataclass(frozen=True)
class ImageShape:
    """The size of one readout: `planes` images of `height` rows (drift time) by `width` columns (wires)."""

    planes: int = SBND_PLANES
    height: int = SBND_TICKS
    width: int = SBND_WIRES

    @property
    def pixels(self) -> int:
        """Pixels of one plane."""
        return self.height * self.width

    def downsampled(self, downsample: int) -> "ImageShape":
        """The shape after both axes are divided by 2**downsample (sizes must divide; see config.check_image_shape)."""
        return ImageShape(self.planes, self.height >> downsample, self.width >> downsample)

    def __str__(self) -> str:
        return f"{counted(self.planes, 'plane')} of {size_text(self.height, self.width)}"
