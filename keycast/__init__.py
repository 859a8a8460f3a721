"""The project package: wiring, and libraries with no business in them."""

__version__ = "0.1.0"
"""The version, in this one place: pyproject.toml, the image, the chart and the release script read it here."""
