"""One question, asked before a command's heavy imports: are the packages of its extra installed?"""

from importlib.util import find_spec

from mien.errors import MissingExtra


def require(*packages: str, extra: str) -> None:
    """Raises MissingExtra that names the first absent package and the command that installs it."""
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(package, extra)
