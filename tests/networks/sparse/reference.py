"""The sparse network once more, in plain NumPy and float64: dense images, and a mask after every step."""

import numpy as np

from cosmictagger_tf.networks.blocks import WIRINGS


class Reference:
    """Runs a sparse network's weights in inference mode, with max-pooling, interpolation, batch norm, concatenation.

    A tensor is (features [images, height, width, channels], mask [images, height, width, 1]); where the mask is 0 the
    features are 0.
    """

    def __init__(self, network, config, planes):
        self.layers = {layer.name: {w.name: w.numpy().astype(float) for w in layer.weights} for layer in network.layers}
        self.config, self.planes, self.wiring = config, planes, WIRINGS[config.wiring]

    def __call__(self, images, active):
        """Logits [images, height, width, classes] of images and masks [images, height, width]."""
        x = (images[..., None].astype(float), active[..., None].astype(float))
        self.charged = x[1] * (charge_around(images)[..., None] >= self.config.descend_charge)
        x = self.unit(x, "initial")
        x = self.level(x, 0)
        x = self.blocks(x, "final", self.config.blocks_final)
        return self.conv(x, "logits")[0]

    def level(self, x, depth):
        if depth == self.config.network_depth:
            return self.deepest(x)
        name = f"level{depth}"
        skip = self.blocks(x, f"{name}_down", self.config.blocks_at(depth))
        going = self.charged if depth == 0 else skip[1]
        x = self.unit(self.pool(skip, going, dense=depth + 1 == self.config.network_depth), f"{name}_downsample")
        features, _ = self.conv(self.level(x, depth + 1), f"{name}_upsample_conv")
        x = self.masked(features.repeat(2, axis=1).repeat(2, axis=2), skip[1])
        x = self.relu(self.normalise(x, f"{name}_upsample_norm"))
        x = self.exchange(x, f"{name}_exchange_0") if str(depth) in self.config.row_exchange else x
        x = self.blocks(x, f"{name}_up", self.config.blocks_at(depth))
        joined = self.masked(np.concatenate([x[0], skip[0]], axis=-1), x[1])
        return self.unit(joined, f"{name}_connect")

    def exchange(self, x, name):
        y, mask = self.unit(x, f"{name}_1")
        rows = np.where(mask > 0, y, -np.inf).max(axis=2)
        rows = np.where(mask.max(axis=2) > 0, rows, 0.0)
        images, height, filters = rows.shape
        rows = (
            rows.reshape(-1, self.planes, height, filters)
            .transpose(0, 2, 1, 3)
            .reshape(-1, height, self.planes * filters)
        )
        weights = self.layers[f"{name}_rows"]
        size = len(weights["kernel"])
        padded = np.pad(rows, [(0, 0), (size // 2,) * 2, (0, 0)])
        rows = sum(padded[:, i : i + height] @ weights["kernel"][i] for i in range(size)) + weights["bias"]
        rows = np.where(rows > 0, rows, self.wiring.slope * rows)
        rows = rows.reshape(-1, height, self.planes, filters).transpose(0, 2, 1, 3).reshape(images, height, 1, filters)
        y = self.unit(self.masked(np.broadcast_to(rows, y.shape), mask), f"{name}_2", activation=False)
        return self.relu(self.masked(x[0] + y[0], mask))

    def deepest(self, x):
        x = self.unit(x, "deepest_bottleneck")
        for i in range(self.config.blocks_deepest_layer):
            y = self.unit(self.unit(x, f"deepest_{i}_1"), f"deepest_{i}_2", activation=False)
            x = self.relu(self.masked(x[0] + y[0], x[1]))
        return self.unit(x, "deepest_unbottleneck")

    def blocks(self, x, name, count):
        for i in range(count):
            y = self.unit(self.unit(x, f"{name}_{i}_1"), f"{name}_{i}_2", activation=False)
            x = self.relu(self.masked(x[0] + y[0], x[1]))
        return x

    def unit(self, x, name, activation=True):
        x = self.normalise(self.conv(x, f"{name}_conv"), f"{name}_norm")
        return self.relu(x) if activation else x

    def conv(self, x, name):
        kernel, bias = self.layers[name]["kernel"], self.layers[name]["bias"]
        depth, size = kernel.shape[0], kernel.shape[1]
        features = x[0].reshape(-1, self.planes, *x[0].shape[1:])
        padding = [(0, 0), (depth // 2,) * 2, (size // 2,) * 2, (size // 2,) * 2, (0, 0)]
        padded, shape = np.pad(features, padding), features.shape
        y = np.zeros((*shape[:-1], kernel.shape[-1]))
        for p, i, j in np.ndindex(depth, size, size):
            y += padded[:, p : p + shape[1], i : i + shape[2], j : j + shape[3]] @ kernel[p, i, j]
        return self.masked(y.reshape(-1, *y.shape[2:]) + bias, x[1])

    def normalise(self, x, name):
        w = self.layers[name]
        scale = w["gamma"] / np.sqrt(w["moving_variance"] + self.wiring.epsilon)
        return self.masked((x[0] - w["moving_mean"]) * scale + w["beta"], x[1])

    def relu(self, x):
        return np.where(x[0] > 0, x[0], self.wiring.slope * x[0]), x[1]

    def pool(self, x, going, dense):
        images, height, width = x[0].shape[:3]
        fours = (images, height // 2, 2, width // 2, 2, -1)
        there = (x[1] if dense else going).reshape(fours).max(axis=(2, 4))
        least = np.where(x[1] > 0, x[0], -np.inf).reshape(fours).max(axis=(2, 4))
        return np.where(there > 0, least, 0.0), np.ones_like(there) if dense else there

    def masked(self, features, mask):
        return features * mask, mask


def charge_around(images):
    """The absolute values in the 3x3 window around each pixel, summed: [..., height, width] -> the same shape."""
    padded = np.pad(np.abs(images), [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)])
    height, width = images.shape[-2:]
    return sum(padded[..., i : i + height, j : j + width] for i, j in np.ndindex(3, 3))
