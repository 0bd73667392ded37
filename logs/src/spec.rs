//! [`RunSpec`]: what was asked of a run. Its canonical hash is the run's identity.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Version of the serialised [`RunSpec`]; raised when a field changes its meaning.
pub const SPEC_VERSION: u32 = 1;

/// Everything that decides what a run does. Two runs with equal specs over equal files learn the same forest
/// and differ only in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// See [`SPEC_VERSION`].
    pub version: u32,
    /// Which rows.
    pub data: DataSpec,
    /// Which forest.
    pub forest: ForestSpec,
    /// On how much machine.
    pub topology: Topology,
    /// Cross-validation instead of a single forest, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_validation: Option<CrossValidation>,
}

/// Which files are read and how they become features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// Local path or `file://`, `s3://`, `s3a://` URL of the folder that holds `train/`, `val/` and `test/`.
    pub root: String,
    /// Share of the *files* of each subset that is taken, in (0, 1].
    pub fraction: f64,
    /// How that share is chosen.
    pub sample: Sample,
    /// Which columns become features and label.
    pub schema: Schema,
    /// What an unreadable file does to the run.
    pub on_bad_file: OnBadFile,
    /// Files are packed together until a partition has at least this many bytes.
    pub min_partition: u64,
    /// Larger files are cut at row groups so that no partition exceeds this many bytes where avoidable.
    pub max_partition: u64,
}

/// File-level sampling: which ⌊n × fraction⌋ (at least 1) of the n sorted files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sample {
    /// The first by name.
    Prefix,
    /// The first by seeded hash of their name; larger fractions contain smaller ones.
    Hashed,
}

/// Which columns become features and label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// FRACTAL's LiDAR layout: z, Intensity, Red, Green, Blue, Infrared, ndvi; label Classification.
    Fractal,
    /// Any numeric columns.
    Columns {
        /// Integer column to learn.
        label: String,
        /// Numeric columns to learn from, at most 255.
        features: Vec<String>,
    },
}

impl Schema {
    /// Names of the features, in the order of the feature index.
    pub fn feature_names(&self) -> Vec<String> {
        match self {
            Schema::Fractal => {
                ["z", "Intensity", "Red", "Green", "Blue", "Infrared", "ndvi"].map(String::from).to_vec()
            }
            Schema::Columns { features, .. } => features.clone(),
        }
    }

    /// Name of the label column.
    pub fn label_name(&self) -> &str {
        match self {
            Schema::Fractal => "Classification",
            Schema::Columns { label, .. } => label,
        }
    }
}

/// What an unreadable file does to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadFile {
    /// Ends it with an error that names the file.
    Fail,
    /// Is left out, counted and reported.
    Skip,
}

/// Hyper-parameters with Spark MLlib's meanings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForestSpec {
    /// `numTrees`.
    pub trees: u32,
    /// `maxDepth`, 0..=30; a root alone has depth 0.
    pub depth: u32,
    /// `maxBins`, 2..=256.
    pub bins: u32,
    /// Features drawn for each node; `None` is ⌈√features⌉, Spark's `auto` for classification.
    pub features_per_node: Option<u32>,
    /// `minInstancesPerNode`, counted in bag weight.
    pub min_instances: u64,
    /// `minInfoGain`.
    pub min_gain: f64,
    /// Seed of bagging, feature subsets and row samples.
    pub seed: u64,
}

/// How many workers and what each may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// OS processes; Spark's executors.
    pub workers: u32,
    /// timely threads in each worker; Spark's executor cores.
    pub cores: u32,
    /// Host set over which the workers are spread: a shipped one by name, or the absolute path of a file. `None` is this
    /// machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_set: Option<String>,
    /// How many hosts of the set are used, the first as written; `None` only without a set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<u32>,
    /// Memory limit of one worker in bytes; Spark's executor memory.
    pub memory: Option<u64>,
    /// Memory of Spark's driver in bytes, recorded for the result's sake: there is no driver here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_memory: Option<u64>,
    /// Bytes of histogram one thread may hold for a level; past it, nodes are taken in groups.
    pub histogram_budget: u64,
    /// Bytes of binned rows that one worker keeps in memory, its threads together; the rest lies on disk and is read once
    /// a pass. `None`: all in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_in_memory: Option<u64>,
    /// Train in one thread without the dataflow: the competent single-threaded baseline of a COST analysis.
    #[serde(default)]
    pub single_thread_baseline: bool,
}

/// k-fold cross-validation over a grid of forest parameters (Spark's `CrossValidator`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossValidation {
    /// Number of folds, 2..=32. A row's fold is a function of its (file, row) id and the seed.
    pub folds: u32,
    /// Numbers of trees to try; empty = only [`ForestSpec::trees`].
    pub trees: Vec<u32>,
    /// Depths to try; empty = only [`ForestSpec::depth`].
    pub depths: Vec<u32>,
}

impl RunSpec {
    /// The whole spec as JSON with sorted keys and no spaces.
    pub fn canonical_json(&self) -> String {
        let value = serde_json::to_value(self).expect("a RunSpec has only string keys and finite numbers");
        let mut text = String::new();
        write_sorted(&value, &mut text);
        text
    }

    /// SHA-256 of [`Self::canonical_json`] as 64 hex digits: equal exactly for equal specs.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.canonical_json().as_bytes()))
    }

    /// First 12 digits of [`Self::hash`], enough to tell the runs of a store apart.
    pub fn short_hash(&self) -> String {
        self.hash()[..12].to_string()
    }

    /// All threads of all workers.
    pub fn total_threads(&self) -> u32 {
        self.topology.workers.saturating_mul(self.topology.cores)
    }
}

/// Appends `value` as JSON with sorted keys and no spaces. `Value::to_string` alone would not do: if any crate of
/// the build asks serde_json for `preserve_order`, it keeps the order of declaration, and every identity would change.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|&(key, _)| key);
            text.push('{');
            for (i, (key, field)) in fields.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_sorted(field, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_sorted(item, text);
            }
            text.push(']');
        }
        leaf => text.push_str(&leaf.to_string()),
    }
}

/// Lower-case hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Default for DataSpec {
    fn default() -> Self {
        DataSpec {
            root: String::new(),
            fraction: 1.0,
            sample: Sample::Prefix,
            schema: Schema::Fractal,
            on_bad_file: OnBadFile::Fail,
            min_partition: 128 << 20,
            max_partition: 256 << 20,
        }
    }
}

impl Default for ForestSpec {
    fn default() -> Self {
        ForestSpec { trees: 40, depth: 6, bins: 32, features_per_node: None, min_instances: 1, min_gain: 0.0, seed: 62 }
    }
}

impl Default for Topology {
    fn default() -> Self {
        Topology {
            workers: 1,
            cores: 1,
            host_set: None,
            hosts: None,
            memory: None,
            driver_memory: None,
            histogram_budget: 256 << 20,
            rows_in_memory: None,
            single_thread_baseline: false,
        }
    }
}

impl Default for RunSpec {
    fn default() -> Self {
        RunSpec {
            version: SPEC_VERSION,
            data: DataSpec::default(),
            forest: ForestSpec::default(),
            topology: Topology::default(),
            cross_validation: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_the_whole_spec() {
        let a = RunSpec::default();
        let mut b = a.clone();
        assert_eq!(a.hash(), b.hash());
        b.forest.trees += 1;
        assert_ne!(a.hash(), b.hash());
        let mut c = a.clone();
        c.topology.cores = 2;
        assert_ne!(a.hash(), c.hash());
        let mut d = a.clone();
        d.topology.host_set = Some("/etc/fractal/cluster.toml".into());
        d.topology.hosts = Some(2);
        assert_ne!(a.hash(), d.hash());
        let mut e = d.clone();
        e.topology.hosts = Some(1);
        assert_ne!(d.hash(), e.hash());
        // A run on this machine keeps the identity that it had before there were host sets.
        assert_eq!(a.hash(), "f7ee7f5127319e278871da2874c0435af3354c72c4ebc1bac6e594414b561b12");
    }

    #[test]
    fn canonical_json_is_sorted_whatever_serde_json_does() {
        // The hash is an identity on disk: this text may change only together with SPEC_VERSION.
        let canonical = RunSpec::default().canonical_json();
        assert_eq!(
            canonical,
            concat!(
                r#"{"data":{"fraction":1.0,"max_partition":268435456,"min_partition":134217728,"#,
                r#""on_bad_file":"fail","root":"","sample":"prefix","schema":"fractal"},"#,
                r#""forest":{"bins":32,"depth":6,"features_per_node":null,"min_gain":0.0,"min_instances":1,"#,
                r#""seed":62,"trees":40},"topology":{"cores":1,"histogram_budget":268435456,"memory":null,"#,
                r#""single_thread_baseline":false,"workers":1},"version":1}"#
            )
        );
        let mut text = String::new();
        write_sorted(&serde_json::json!({"b": [{"z": 1, "a": "\"q\""}], "a": null}), &mut text);
        assert_eq!(text, r#"{"a":null,"b":[{"a":"\"q\"","z":1}]}"#);
    }

    #[test]
    fn json_round_trip() {
        let spec = RunSpec {
            data: DataSpec {
                schema: Schema::Columns { label: "y".into(), features: vec!["a".into(), "b".into()] },
                fraction: 0.07,
                ..DataSpec::default()
            },
            ..RunSpec::default()
        };
        let back: RunSpec = serde_json::from_str(&spec.canonical_json()).unwrap();
        assert_eq!(back, spec);
    }
}
