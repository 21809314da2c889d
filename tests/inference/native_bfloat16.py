"""The evaluate command as a processor with products of bfloat16 computes it: factors in bfloat16, sums in float32.

Where a processor has none, TensorFlow's own product adds up in bfloat16 as well.
"""

import runpy

from keras import ops


def with_wide_sums(product):
    """A product whose sums are in float32, as the result's rounding is not."""

    def computed(one, other, **options):
        wide = product(ops.cast(one, "float32"), ops.cast(other, "float32"), **options)
        return ops.cast(wide, one.dtype)

    return computed


if __name__ == "__main__":
    ops.matmul, ops.conv = with_wide_sums(ops.matmul), with_wide_sums(ops.conv)
    runpy.run_module("cosmictagger_tf.evaluate", run_name="__main__", alter_sys=True)
