from setuptools import Extension, setup

# Reading is quicker with it and works without, where there is no C compiler: see cosmictagger_tf/data/loops.py.
DATA = "cosmictagger_tf/data"
LOOPS = Extension(
    "cosmictagger_tf.data._loops",
    [f"{DATA}/loops.c"],
    # -O3, which Python may be set to, makes the inflating a tenth slower.
    extra_compile_args=["-O2"],
    optional=True,
)

setup(ext_modules=[LOOPS])
