"""Whether the packages of a command's extra are installed, asked before its heavy imports."""

from importlib.util import find_spec

from mien.errors import MissingExtra


def require(*packages: str, extra: str) -> None:
    """Raises MissingExtra that names the first absent package and the command that installs it."""
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(package, extra)
