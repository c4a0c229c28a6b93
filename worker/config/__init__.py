"""
The settings of one region's worker: command line > environment (`WORKER_KEYS__MAX_AGE_S`) > TOML file.

Every stage owns its options; this package nests them and names each wrong value with its place. Secrets are no
settings: a setting holds the *name* of the environment variable that holds the secret (or its `NAME_FILE`).
"""

from worker.config.loading import load
from worker.config.route import RouteSettings
from worker.config.sections import KafkaSettings, ProcessSettings, SchemaSettings
from worker.config.settings import Settings

__all__ = ["KafkaSettings", "ProcessSettings", "RouteSettings", "SchemaSettings", "Settings", "load"]
