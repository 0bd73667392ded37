//! [`ForestError`]: what can be wrong with parameters, with a saved model, or with the order of calls.

/// What can be wrong with parameters, with a saved model, or with the order of calls.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ForestError {
    /// A parameter is outside its range.
    #[error("{name} is {value}, but must be {allowed}")]
    Parameter {
        /// Its name as users write it.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A saved model cannot be used.
    #[error("the model is damaged or not a model of this program: {0}; save it again with --save-model")]
    Model(String),
    /// A saved model is of another version of the format.
    #[error(
        "the model has format version {found}, but this program reads version {supported}; use the program that wrote it, or train again"
    )]
    ModelVersion {
        /// In the file.
        found: u64,
        /// Here.
        supported: u32,
    },
    /// Rows do not fit the model.
    #[error("the rows have {found} features, but the model was trained on {expected} ({names})")]
    Features {
        /// In the rows.
        found: usize,
        /// In the model.
        expected: usize,
        /// Their names, in order.
        names: String,
    },
    /// Workers disagree about the pass they are in: a fault of the program, not of the input.
    #[error("the exchange between workers is out of step: {0}; this is a fault of the program, please report it")]
    OutOfStep(String),
}
