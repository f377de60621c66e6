"""This package's version, as it stands in footers and manifests."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The installed version; `unknown` where the package is not installed."""
    try:
        return version("pop-selfplay")
    except PackageNotFoundError:
        return "unknown"
