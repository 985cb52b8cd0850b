"""Only what pyproject.toml cannot say: the C extension, and the tag of its wheel."""

import sysconfig

from setuptools import setup

# One wheel for every CPython from 3.10 on. Free-threaded builds have no limited API.
limited = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["csrc/build.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if limited else {},
)
