from setuptools import Extension, setup

# Reading is quicker with it and works without, where there is no C compiler: see cosmictagger_tf/data/inflate.py.
INFLATE_LOOP = Extension("cosmictagger_tf.data._inflate_loop", ["cosmictagger_tf/data/inflate_loop.c"], optional=True)

setup(ext_modules=[INFLATE_LOOP])
