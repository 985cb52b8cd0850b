"""The module in C: one compiler and one linker to start."""

from setuptools import Extension, setup

setup(ext_modules=[Extension("tiny._sum", ["src/tiny/_sum.c"])])
