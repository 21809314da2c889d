"""Times single convolutions and their gradients, compiled by XLA or not. Run by hand, not by pytest.

python -m tests.networks.measure_convolutions
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Images of [batch, height, width, channels] in the dense networks at --downsample=2: kernel, filters, stride.
CASES = (
    ((3, 320, 512, 1), 5, 8, 1),
    ((3, 320, 512, 8), 3, 8, 1),
    ((3, 320, 512, 8), 2, 16, 2),
    ((3, 80, 128, 32), 3, 32, 1),
    ((3, 20, 32, 64), 3, 64, 1),
)
REPEATS = 5


def main() -> None:
    """Prints a line a case: milliseconds of the forward pass and of both gradients, without XLA and with."""
    import tensorflow as tf

    def fastest(call, *arguments):
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            call(*arguments).numpy()
            times.append(time.perf_counter() - began)
        return 1e3 * min(times)

    for shape, size, filters, stride in CASES:
        x, kernel = tf.random.normal(shape), tf.random.normal((size, size, shape[-1], filters))
        dy = tf.random.normal(tf.nn.conv2d(x, kernel, stride, "SAME").shape)
        options = {"strides": [1, stride, stride, 1], "padding": "SAME"}
        parts = {
            "forward": lambda x, kernel, dy, o=options: tf.nn.conv2d(x, kernel, **o),
            "of the image": lambda x, kernel, dy, o=options: tf.raw_ops.Conv2DBackpropInput(
                input_sizes=x.shape, filter=kernel, out_backprop=dy, **o
            ),
            "of the kernel": lambda x, kernel, dy, o=options: tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=kernel.shape, out_backprop=dy, **o
            ),
        }
        found = []
        for name, part in parts.items():
            plain, compiled = (fastest(tf.function(part, jit_compile=jit), x, kernel, dy) for jit in (False, True))
            found.append(f"{name} {plain:.1f} and {compiled:.1f}")
        print(f"{shape}, kernel {size}, stride {stride}, {filters} filters: {'; '.join(found)} ms", flush=True)


if __name__ == "__main__":
    main()
