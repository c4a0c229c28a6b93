"""A streaming ETL encryption worker for data residency."""

__version__ = "0.1.0"
