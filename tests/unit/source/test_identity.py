"""Asking who the cluster is: of a broker that has just started and knows neither itself nor its cluster."""

from __future__ import annotations

import subprocess
import sys

from tests.fakes.broker import FreshBroker
from tests.running import until
from worker.errors import SourceUnavailable
from worker.source.identity import TopicIdentities

# In a process of its own: what is feared is that the process is aborted.
_QUESTIONS = """
import sys, time
from worker.errors import SourceUnavailable
from worker.source import identity
from worker.source.identity import TopicIdentities

identity._REQUEST_S = 0.1

def ask(identities, questions):
    answered = 0
    while answered < questions:
        try:
            answered += identities.verify()
            time.sleep(0.001)
        except SourceUnavailable:
            answered += 1

properties = {"bootstrap.servers": sys.argv[1]}
ask(TopicIdentities(properties, ["customers"], cluster_id="c"), 40)
for _ in range(6):
    identities = TopicIdentities(properties, ["customers"], cluster_id="c")
    ask(identities, 1)
    identities.close()
    del identities
print("alive")
"""


def test_answers_without_a_broker_abort_nothing() -> None:
    """Many questions of long-lived and short-lived clients, to a broker that often knows nothing: each is survived."""
    with FreshBroker("c", every=3) as broker:
        program = [sys.executable, "-c", _QUESTIONS, f"127.0.0.1:{broker.port}"]
        done = subprocess.run(program, capture_output=True, text=True, timeout=50, check=False)

    assert done.stdout.strip() == "alive", (done.returncode, done.stderr)


def test_the_cluster_is_known_once_its_broker_knows_it() -> None:
    """Until then it is an outage, and never another cluster; and no topic is made by asking for it."""
    with FreshBroker("c", every=4) as broker:
        identities = TopicIdentities({"bootstrap.servers": f"127.0.0.1:{broker.port}"}, ["customers"], cluster_id="c")

        def known() -> bool:
            try:
                return identities.cluster_id() == "c"
            except SourceUnavailable:
                return False

        until(known, "the cluster tells its id")
        identities.close()

        assert not broker.may_create
