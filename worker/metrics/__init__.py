"""What the worker counts: the catalogue, and the registry that writes to it."""

from worker.metrics.catalogue import CATALOGUE as CATALOGUE
from worker.metrics.metric import Metric as Metric
from worker.metrics.processes import ProcessMetrics as ProcessMetrics
from worker.metrics.registry import Metrics as Metrics
from worker.metrics.registry import forget_process as forget_process
from worker.metrics.registry import whole as whole
