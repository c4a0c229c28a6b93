//! A batch's output on its way to librdkafka.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::kafka::Batch;
use super::output::Output;
use crate::kafka::headers::Policy;
use crate::kafka::producer;
use crate::kafka::rounds::Limit;

/// An output's messages in rounds, each of which has of every partition what fits into one request.
#[pyclass(frozen, module = "worker._native")]
pub struct Outgoing(pub producer::Outgoing);

#[pymethods]
impl Outgoing {
    /// `rows` tell which record has which value of which output (-1: a tombstone); without it the only output's values are
    /// the records' own. `headers`: the names to copy, the names that never go out, and the name of the header that says
    /// where a record came from. `limit`: bytes and messages of a request; without it there is one round.
    #[new]
    #[pyo3(signature = (source, outputs, rows, headers, limit))]
    fn new(
        py: Python<'_>,
        source: &Batch,
        outputs: Vec<PyRef<'_, Output>>,
        rows: Option<Vec<(usize, i64, usize)>>,
        headers: (Option<Vec<String>>, Vec<String>, Option<String>),
        limit: Option<(usize, usize)>,
    ) -> PyResult<Self> {
        let values: Vec<_> = outputs.iter().map(|output| Arc::clone(&output.output)).collect();
        let every = source.0.len();
        let sound = match &rows {
            None => values.len() == 1 && outputs[0].skip.len() == every && !outputs[0].skip.contains(&true),
            Some(rows) => rows.iter().all(|&(record, output, index)| {
                let given = usize::try_from(output).ok();
                record < every && given.is_none_or(|n| outputs.get(n).is_some_and(|o| o.skip.get(index) == Some(&false)))
            }),
        };
        if !sound {
            return Err(PyValueError::new_err("a record has no value in the output"));
        }
        let source = Arc::clone(&source.0);
        let policy = Policy { names: headers.0, without: headers.1, source: headers.2 };
        let limit = limit.map(|(bytes, messages)| Limit { bytes, messages });
        drop(outputs);
        Ok(Self(py.detach(|| producer::Outgoing::new(source, values, rows, policy, limit))))
    }

    fn __len__(&self) -> usize {
        self.0.count()
    }

    fn __repr__(&self) -> String {
        format!("Outgoing({} messages)", self.0.count())
    }
}
