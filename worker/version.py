"""The version of this worker."""

__version__ = "0.1.0"
