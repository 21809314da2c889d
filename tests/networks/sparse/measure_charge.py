"""Measures what --descend_charge leaves at full resolution. Run by hand, not by pytest.

python -m tests.networks.sparse.measure_charge sbnd_sample.h5 --events=3
"""

import argparse
import os
import sys

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

OWN = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
OWN.add_argument("file", help="larcv3 file with labels")
OWN.add_argument("--events", type=int, default=3, help="how many of its first events are taken")
OWN.add_argument("--charges", type=float, nargs="+", default=[0, 10, 12, 15, 20], help="values of --descend_charge")


def main(argv: list[str]) -> None:
    """Prints a line for each charge: sites of each level, and the share of each class that does not go down."""
    own = OWN.parse_args(argv)

    from cosmictagger_tf.config import NetworkConfig
    from cosmictagger_tf.data.batch import make_batch
    from cosmictagger_tf.data.larcv_h5 import LarcvFile
    from cosmictagger_tf.detector import CLASS_NAMES
    from cosmictagger_tf.networks.sparse.host_rulebook import build_rulebook

    file = LarcvFile(own.file, "sbndwire", "sbnd_cosmicseg")
    events = [file.read(i) for i in range(min(own.events, len(file)))]
    print(f"{own.file}: {len(events)} events; sites of each level per event, and what does not go down")
    for charge in own.charges:
        config = NetworkConfig(conv_mode="sparse", network_depth=7, descend_charge=charge)
        sites, classes, staying = np.zeros(7), np.zeros(len(CLASS_NAMES)), np.zeros(len(CLASS_NAMES))
        for event in events:
            batch = make_batch([event], 1, event.shape)
            book = build_rulebook(batch["image_coordinates"], batch["image_values"], config, event.shape)
            sites += [len(book[f"images_{level}"]) for level in range(7)]
            listed = batch["image_coordinates"][..., 0] >= 0
            labels = batch["labels"][listed]
            pixel_sites = book["pixel_sites"][listed]
            above = book["parents_0"][pixel_sites] == 4 * len(book["images_1"])
            classes += np.bincount(labels, minlength=len(CLASS_NAMES))
            staying += np.bincount(labels[above], minlength=len(CLASS_NAMES))
        shares = ", ".join(
            f"{name} {100 * n / max(all_of_it, 1):.2f} %"
            for name, n, all_of_it in zip(CLASS_NAMES, staying, classes, strict=True)
        )
        numbers = " ".join(f"{n:,.0f}" for n in sites / len(events))
        print(f"--descend_charge={charge:g}: {numbers}; {shares}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
