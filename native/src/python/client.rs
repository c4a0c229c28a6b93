//! confluent-kafka's clients as they are used from here.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::kafka::Batch;
use super::outgoing::Outgoing;
use crate::kafka::client::Tracker;
use crate::kafka::producer::{self, Refused};
use crate::kafka::receive;

/// Finds librdkafka's functions in a library that is loaded; says whether they are there and of a known version.
#[pyfunction]
pub fn kafka_load(path: &str) -> bool {
    crate::kafka::load(path).is_ok()
}

/// The client that this thread has just made, where it named this extension as a plugin.
#[pyfunction]
pub fn kafka_newest() -> Option<Client> {
    crate::kafka::newest().map(Client)
}

/// Lets the threads of every client look at the clocks again, without waiting for them.
#[pyfunction]
pub fn kafka_wake() {
    for client in crate::kafka::live() {
        // Where no thread can be had there is nobody to tell; the next leap, or the next record, wakes the client.
        let _ = std::thread::Builder::new().name("wake".into()).spawn(move || client.wake());
    }
}

/// A client of confluent-kafka's. It must be ended before that one is closed.
#[pyclass(frozen, module = "worker._native")]
pub struct Client(Arc<Tracker>);

/// Code, words, topic, partition, offset.
type Event = (i32, String, String, i32, i64);

fn closed() -> PyErr {
    PyRuntimeError::new_err("the Kafka client was closed")
}

#[pymethods]
impl Client {
    /// Lets a partition's messages arrive here.
    fn watch(&self, py: Python<'_>, topic: &str, partition: i32) -> PyResult<()> {
        py.detach(|| self.0.watch(topic, partition)).map_err(|_| closed())
    }

    /// Ends a `receive` that waits, else the next one; safe from any thread.
    fn interrupt(&self, py: Python<'_>) {
        py.detach(|| self.0.interrupt());
    }

    /// Waits for one message, or until there is something for confluent-kafka's consumer, then takes what lies ready.
    fn receive(&self, py: Python<'_>, most: usize, timeout_ms: i32) -> PyResult<(Batch, Vec<Event>)> {
        let (batch, events) = py.detach(|| receive::receive(&self.0, most, timeout_ms)).map_err(|_| closed())?;
        let events = events.into_iter().map(|e| (e.code, e.words, e.topic, e.partition, e.offset));
        Ok((Batch(Arc::new(batch)), events.collect()))
    }

    /// Hands over an output's messages from a place on, until their round ends; returns how many were taken, fewer where
    /// the queue was full, and librdkafka's code where one was refused.
    fn produce(
        &self,
        py: Python<'_>,
        topic: &str,
        by_key: bool,
        outgoing: &Outgoing,
        start: usize,
    ) -> PyResult<(usize, i32)> {
        if start >= outgoing.0.count() {
            return Ok((0, 0));
        }
        match py.detach(|| producer::produce(&self.0, topic, by_key, &outgoing.0, start)) {
            Ok(taken) => Ok((taken, 0)),
            Err(Refused::Code(code)) => Ok((0, code)),
            Err(Refused::Closed) => Err(closed()),
        }
    }

    /// How many of the messages produced here were acknowledged, and how many given up.
    fn counts(&self) -> (u64, u64) {
        self.0.counts()
    }

    /// How many connections the client has made so far.
    fn connections(&self) -> u64 {
        self.0.connections()
    }

    /// librdkafka's code and the topic of the first message that was given up.
    fn first_failure(&self) -> Option<(i32, String)> {
        self.0.first_failure()
    }

    /// Forgets the client; every later call raises `RuntimeError`.
    fn end(&self, py: Python<'_>) {
        py.detach(|| self.0.end());
    }
}
