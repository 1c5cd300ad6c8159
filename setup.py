"""How the project is built and installed; `make setup` does it in a virtual environment."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

HERE = Path(__file__).parent
PTH = "lisp_sdn_runtime.pth"
"""Goes beside the packages, so that Python reads it at its start; see lisp_sdn_runtime.py."""


class BuildWithPth(build_py):
    """Puts the .pth file into the wheel."""

    def run(self) -> None:
        """Build, then add the file."""
        super().run()
        if not self.editable_mode:
            self.copy_file(str(HERE / PTH), str(Path(self.build_lib, PTH)), preserve_mode=False)


class EditableWheelWithPth(editable_wheel):
    """Puts the .pth file into the wheel of an editable install (PEP 660)."""

    def run(self) -> None:
        """Build, then add the file to the finished wheel and to its RECORD."""
        super().run()
        for wheel in Path(self.dist_dir).glob("lisp_sdn-*editable*.whl"):
            add_to_wheel(wheel, PTH, (HERE / PTH).read_bytes())


def add_to_wheel(wheel: Path, name: str, data: bytes) -> None:
    """Add a file to the root of a wheel and list it in RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(wheel) as old:
        entries = [(info, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr(name, data)
        for info, content in entries:
            if info.filename.endswith(".dist-info/RECORD"):
                content += f"{name},sha256={digest},{len(data)}\n".encode()
            new.writestr(info, content)


def version() -> str:
    """The version that the package itself tells; it cannot be imported before it is installed."""
    text = (HERE / "lisp_sdn" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found, "lisp_sdn/__init__.py has no __version__"
    return found[1]


setup(
    name="lisp_sdn",
    version=version(),
    description="The centralized ITR/ETR brain of a LISP network on Open vSwitch, a Ryu app",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # lisp_sdn/apps is a symbolic link to apps/: found, and copied as files.
    packages=find_packages(include=["lisp_sdn", "lisp_sdn.*"]),
    py_modules=["lisp_sdn_runtime"],
    # lisp_sdn/web/operations.md is a symbolic link, too: the meaning of reasons is told once.
    package_data={"lisp_sdn": ["py.typed", "web/*"]},
    include_package_data=False,
    install_requires=[
        "ryu>=4.34,<5",
        "eventlet>=0.36,<1",
        "webob>=1.8.7,<2",
        "netaddr>=0.10",
        "pydantic>=2.10,<3",
        "PyYAML>=6.0",
        "click>=8.1,<9",
        "rich>=13",
        "prometheus_client>=0.19",
        "pytricia>=1.0.2",
        "sortedcontainers>=2.4",
        "tzdata",  # time zones of policy rules, where the system has none
    ],
    extras_require={
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "jsonschema>=4.20",
            "mypy>=1.10",
            "openapi-spec-validator>=0.7",
            "pexpect>=4.9",
            "ruff>=0.6",
            "schemathesis>=4",
            "selenium>=4.20",
            "types-PyYAML",
        ],
        "fuzz": ["atheris"],
    },
    entry_points={
        "console_scripts": [
            "lispctl = lisp_sdn.cli.lispctl:main",
            "lig = lisp_sdn.cli.lig:main",
            "lisp-map-server = lisp_sdn.cli.map_server:main",
        ],
    },
    cmdclass={"build_py": BuildWithPth, "editable_wheel": EditableWheelWithPth},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: System :: Networking",
    ],
)
