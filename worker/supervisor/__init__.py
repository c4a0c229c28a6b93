"""Several processes of one worker on one machine: one group, one HTTP surface, one end."""

from worker.supervisor.supervisor import Supervisor as Supervisor
