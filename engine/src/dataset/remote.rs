//! Object stores: configuration from the environment, short deadlines, errors in plain words.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::Runtime;

use super::error::{Error, Fault, one_line};
use super::listing::FileEntry;
use super::source::is_parquet;

/// A folder of a bucket. Requests run on a small runtime of its own, so that callers need none.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) bucket: Bucket,
    runtime: Arc<Runtime>,
}

/// What a task needs of it: not the runtime, which must not end on one of its own threads.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    endpoint: Arc<str>,
}

/// An unreachable store must be an error within seconds, not within object_store's default three minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const READ_TIMEOUT: Duration = Duration::from_secs(20);

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(20),
    }
}

#[cfg(any(feature = "gcs", feature = "azure"))]
fn client() -> object_store::ClientOptions {
    object_store::ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_timeout(Duration::from_secs(120))
}

impl Remote {
    /// Opens `scheme://rest`, where `rest` is `bucket/folder`; `root` is the whole as the user wrote it.
    pub(super) fn open(
        scheme: &str,
        rest: &str,
        root: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Remote, Error> {
        let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Error::Spec(format!("{root} names no bucket; write {scheme}://bucket/folder")));
        }
        let prefix = Key::parse(folder.trim_matches('/')).map_err(|error| {
            Error::Spec(format!("{root} is no valid object path ({}); check --data", one_line(error)))
        })?;
        // The store's TLS needs a process-wide default; a second call finds it set, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (store, endpoint) = store(scheme, bucket, root, environment)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("object-store")
            .enable_all()
            .build()
            .map_err(|error| Error::place(root, format!("no thread for its requests ({error})"), "check ulimit -u"))?;
        let bucket = Bucket { store, prefix, endpoint: endpoint.into() };
        Ok(Remote { bucket, runtime: Arc::new(runtime) })
    }

    /// The parquet files directly below `folder`, named relative to the root.
    pub(super) fn list(&self, folder: &str, root: &str) -> Result<Vec<FileEntry>, Error> {
        let prefix = self.bucket.prefix.clone().join(folder);
        let listed = self.runtime.block_on(self.bucket.store.list_with_delimiter(Some(&prefix))).map_err(|error| {
            let (problem, advice) = self.bucket.explain(&error);
            Error::place(format!("{root}/{folder}"), problem, advice)
        })?;
        let name = |key: &Key| key.filename().map(|file| format!("{folder}/{file}"));
        Ok(listed
            .objects
            .into_iter()
            .filter(|object| object.location.filename().is_some_and(is_parquet))
            .filter_map(|object| Some(FileEntry::new(name(&object.location)?, object.size)))
            .collect())
    }

    pub(super) fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, Fault> {
        self.runtime.block_on(self.bucket.fetch(name, vec![range])).map(|mut parts| parts.remove(0))
    }

    /// Runs `task` beside the caller, on the store's own threads.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Writes an object below the folder.
    pub(super) fn put(&self, name: &str, bytes: Bytes, root: &str) -> Result<(), Error> {
        self.runtime.block_on(self.bucket.store.put(&self.bucket.key(name), bytes.into())).map(drop).map_err(|error| {
            let (problem, advice) = self.bucket.explain(&error);
            Error::place(format!("{root}/{name}"), problem, advice)
        })
    }
}

impl Bucket {
    fn key(&self, name: &str) -> Key {
        name.split('/').fold(self.prefix.clone(), |key, part| key.join(part))
    }

    /// Fetches ranges of one object; near ones in one request.
    pub(super) async fn fetch(&self, name: &str, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, Fault> {
        let parts = self.store.get_ranges(&self.key(name), &ranges).await.map_err(|error| {
            let (problem, advice) = self.explain(&error);
            Fault::mismatch(problem, advice)
        })?;
        match ranges.iter().zip(&parts).find(|(range, part)| range.end - range.start != part.len() as u64) {
            None => Ok(parts),
            Some((range, part)) => Err(super::source::truncated(range.end, range.start + part.len() as u64)),
        }
    }

    /// What went wrong and what to do about it.
    fn explain(&self, error: &object_store::Error) -> (String, String) {
        use object_store::Error as E;
        let text = innermost(error);
        let lower = full_text(error).to_lowercase();
        let any = |needles: &[&str]| needles.iter().any(|needle| lower.contains(needle));
        let endpoint = &self.endpoint;
        if any(&["nosuchbucket"]) {
            (format!("the bucket does not exist at {endpoint}"), "check --data and AWS_ENDPOINT_URL".into())
        } else if matches!(error, E::PermissionDenied { .. } | E::Unauthenticated { .. })
            || any(&[
                "accessdenied",
                "invalidaccesskeyid",
                "signaturedoesnotmatch",
                "403 forbidden",
                "401 unauthorized",
            ])
        {
            (
                format!("{endpoint} denies access ({text})"),
                "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket set AWS_SKIP_SIGNATURE=true"
                    .into(),
            )
        } else if any(&["169.254.169.254", "instance metadata", "metadata/identity", "metadata.google"]) {
            (
                "no credentials are set, and this machine has none of its own".into(),
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket set AWS_SKIP_SIGNATURE=true"
                    .into(),
            )
        } else if any(&["url scheme is not allowed", "builder error"]) {
            (
                format!("{endpoint} is not encrypted, and that is not allowed"),
                "set AWS_ALLOW_HTTP=true if you trust the network".into(),
            )
        } else if matches!(error, E::NotFound { .. }) {
            (
                "does not exist (any more)".into(),
                "check --data, or leave unreadable files out with --on-bad-file skip".into(),
            )
        } else if any(&["error sending request", "timed out", "timeout", "dns", "connect"]) {
            (
                format!("{endpoint} cannot be reached ({text})"),
                "check the network, AWS_ENDPOINT_URL and AWS_REGION".into(),
            )
        } else {
            (format!("{endpoint} answered: {text}"), "check --data and the store's settings".into())
        }
    }
}

/// The store of a bucket and the endpoint that errors name.
fn store(
    scheme: &str,
    bucket: &str,
    root: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Arc<dyn ObjectStore>, String), Error> {
    let misconfigured = |error: object_store::Error| {
        Error::place(
            root,
            format!("the store's settings are wrong ({})", innermost(&error)),
            "check its environment variables",
        )
    };
    match scheme {
        "s3" | "s3a" => {
            let mut builder = AmazonS3Builder::new();
            let mut endpoint = String::from("Amazon S3");
            for (name, value) in environment {
                let Some(key) = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse().ok()).flatten()
                else {
                    continue;
                };
                if name.starts_with("AWS_ENDPOINT") {
                    endpoint.clone_from(&value);
                }
                builder = builder.with_config(key, value);
            }
            let builder = builder.with_bucket_name(bucket).with_retry(retry());
            // with_client_options would drop AWS_ALLOW_HTTP and the like, which live among them.
            let builder = [("connect_timeout", CONNECT_TIMEOUT), ("read_timeout", READ_TIMEOUT)].into_iter().fold(
                builder,
                |builder, (key, limit)| match key.parse() {
                    Ok(key) => builder.with_config(key, format!("{} s", limit.as_secs())),
                    Err(_) => builder,
                },
            );
            Ok((Arc::new(builder.build().map_err(misconfigured)?), endpoint))
        }
        #[cfg(feature = "gcs")]
        "gs" => {
            drop(environment);
            let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retry())
                .with_client_options(client());
            Ok((Arc::new(builder.build().map_err(misconfigured)?), "Google Cloud Storage".into()))
        }
        #[cfg(feature = "azure")]
        "az" | "abfs" => {
            drop(environment);
            let builder = object_store::azure::MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_retry(retry())
                .with_client_options(client());
            Ok((Arc::new(builder.build().map_err(misconfigured)?), "Azure Blob Storage".into()))
        }
        "gs" => Err(Error::Spec(format!("{root}: built without Google Cloud Storage; build with --features gcs"))),
        "az" | "abfs" => Err(Error::Spec(format!("{root}: built without Azure; build with --features azure"))),
        _ => Err(Error::Spec(format!("{root}: unknown scheme {scheme}://; use a path, file://, s3:// or s3a://"))),
    }
}

fn chain(error: &object_store::Error) -> impl Iterator<Item = &dyn std::error::Error> {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
}

/// The last cause in the chain, in one line: the others repeat it in wrappings of their own.
fn innermost(error: &object_store::Error) -> String {
    let text = chain(error).last().map(one_line).unwrap_or_default();
    // A server's XML answer is long; its message is what a person wants.
    match text.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>")) {
        Some((message, _)) => message.trim_end_matches('.').to_string(),
        None => text,
    }
}

fn full_text(error: &object_store::Error) -> String {
    chain(error).map(|error| error.to_string()).collect::<Vec<_>>().join("; ")
}
