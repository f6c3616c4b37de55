"""What pyproject.toml cannot say: every folder of compiler/ is a package, two data folders move into it."""

from setuptools import find_namespace_packages, setup

DATA = {"compiler._data.targets": "targets", "compiler._data.tuning_logs": "tuning_logs"}

setup(packages=[*find_namespace_packages(include=["compiler", "compiler.*"]), *DATA], package_dir=DATA)
