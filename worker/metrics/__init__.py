"""What the worker counts and times: the catalogue, the registry that writes to it, and the traces."""

from worker.metrics.catalogue import CATALOGUE as CATALOGUE
from worker.metrics.metric import Metric as Metric
from worker.metrics.processes import ProcessMetrics as ProcessMetrics
from worker.metrics.registry import Metrics as Metrics
from worker.metrics.registry import forget_process as forget_process
from worker.metrics.registry import whole as whole
from worker.metrics.traces import Traces as Traces
from worker.metrics.tracing import open_traces as open_traces
