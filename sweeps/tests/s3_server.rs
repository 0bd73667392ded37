//! `fractal-run` over a real S3-protocol server on loopback: moto's, from `pip install 'moto[server]'`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fractal_engine::dataset::{GenerateSpec, generate};

struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// A server that takes any key.
    fn start() -> Option<Server> {
        Server::start_with(&[])
    }

    /// A server that knows nobody: every request meets its check of keys.
    fn start_strict() -> Option<Server> {
        Server::start_with(&[("INITIAL_NO_AUTH_ACTION_COUNT", "0")])
    }

    fn start_with(environment: &[(&str, &str)]) -> Option<Server> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let server = Server { process, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "moto_server did not start");
            sleep(Duration::from_millis(100));
        }
        Some(server)
    }

    /// Sends a request and returns the answer's body. The server hands out private objects to whoever names a key.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: AWS key:unchecked\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_string()
    }

    fn put(&self, path: &str, body: &[u8]) {
        self.ask("PUT", path, body);
    }

    /// The keys below `prefix`.
    fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let listing = self.ask("GET", &format!("/{bucket}?list-type=2&prefix={prefix}"), b"");
        listing.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_string()).collect()
    }
}

fn run(port: u16, data: &str, store: &Path) -> Output {
    run_with(port, data, store, &[])
}

fn run_with(port: u16, data: &str, store: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fractal-run"))
        .env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_ALLOW_HTTP", "true")
        .args(["--data", data, "--workers", "2", "--cores", "1", "--trees", "3", "--json", "--quiet", "--store"])
        .arg(store)
        .args(arguments)
        .output()
        .unwrap()
}

fn model_hash(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    result["model_hash"].as_str().unwrap().to_string()
}

fn one_error(output: Output, named: &str) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("error:")).collect();
    assert!(lines.len() == 1 && lines[0].contains(named), "{errors}");
}

#[test]
fn a_wrong_key_is_told_as_such() {
    let Some(server) = Server::start_strict() else {
        println!("skipped: no moto_server on the PATH (pip install 'moto[server]')");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    one_error(run(server.port, "s3://bucket/set", &folder.path().join("store")), "AWS_ACCESS_KEY_ID");
}

#[test]
fn a_bucket_trains_the_forest_that_a_folder_trains() {
    let Some(server) = Server::start() else {
        println!("skipped: no moto_server on the PATH (pip install 'moto[server]')");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let spec =
        GenerateSpec { train_files: 4, val_files: 1, test_files: 1, rows_per_file: 2000, row_group_rows: 500, seed: 3 };
    generate(&set, &spec, 2, &|_| {}).unwrap();
    server.put("/bucket", b"");
    for subset in ["train", "val", "test"] {
        for file in std::fs::read_dir(set.join(subset)).unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            server.put(&format!("/bucket/set/{subset}/{name}"), &std::fs::read(file.path()).unwrap());
        }
    }
    let store = folder.path().join("store");
    let local = model_hash(&run(server.port, set.to_str().unwrap(), &store));
    assert_eq!(model_hash(&run(server.port, "s3://bucket/set", &store)), local);
    assert_eq!(model_hash(&run(server.port, "s3a://bucket/set/", &store)), local);

    // The original's --upload-result-to-s3, and ours.
    for (arguments, prefix) in
        [(&["--upload-result-to-s3"][..], "results/"), (&["--upload", "s3://bucket/kept/here"][..], "kept/here/")]
    {
        let output = run_with(server.port, "s3a://bucket/set", &store, arguments);
        assert_eq!(model_hash(&output), local);
        let keys = server.keys("bucket", prefix);
        let [result, model] = &keys[..] else { panic!("a result and a model, not {keys:?}") };
        assert!(model.ends_with(".model.json") && result.ends_with(".json"), "{keys:?}");
        let uploaded: serde_json::Value =
            serde_json::from_str(&server.ask("GET", &format!("/bucket/{result}"), b"")).unwrap();
        assert_eq!(uploaded, serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap());
    }

    one_error(run(server.port, "s3://no-such-bucket/set", &store), "bucket does not exist");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = Instant::now();
    one_error(run(closed, "s3://bucket/set", &store), "cannot be reached");
    assert!(start.elapsed() < Duration::from_secs(60), "an unreachable store is told in seconds");
}
