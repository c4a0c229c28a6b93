"""Where records come from."""

from worker.source.base import AssignmentListener as AssignmentListener
from worker.source.base import Source as Source
