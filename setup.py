"""The one thing that pyproject.toml cannot say: the C extension, without which everything still runs."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "outthink.models._native",
            sorted(glob("src/outthink/native/*.c")),
            depends=sorted(glob("src/outthink/native/*.h")),
            extra_compile_args=["-O3", "-std=gnu11", "-pthread"],
            extra_link_args=["-pthread"],
            optional=True,  # no compiler, or not POSIX: the forward pass runs on torch
        )
    ]
)
