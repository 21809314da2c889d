from setuptools import Extension, setup

# Reading is quicker with it and works without, where there is no C compiler: see cosmictagger_tf/data/loops.py.
LOOPS = Extension("cosmictagger_tf.data._loops", ["cosmictagger_tf/data/loops.c"], optional=True)

setup(ext_modules=[LOOPS])
