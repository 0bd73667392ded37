//! The report of a real sweep, laid out by headless Chromium at the width of a desk and of a phone, light and dark.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use fractal_engine::dataset::{GenerateSpec, generate};
use serde_json::Value;

fn run(store: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_fractal-run"))
        .env("FRACTAL_STORE", store)
        .env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A page around the report that looks at it in a frame of some width and writes down what it sees.
const LOOK: &str = r#"<!doctype html><body style="margin:0"><pre id="seen"></pre>
<iframe id="page" src="report.html" style="border:0;width:WIDTHpx;height:3000px"></iframe>
<script>
document.getElementById('page').onload = (event) => {
  const page = event.target.contentDocument, all = (what) => [...page.querySelectorAll(what)];
  const outside = all('figure').flatMap((figure) => {
    const room = figure.getBoundingClientRect();
    return [...figure.querySelectorAll('text')].filter((text) => {
      const box = text.getBoundingClientRect();
      return box.left < room.left - 1 || box.right > room.right + 1;
    }).map((text) => text.textContent);
  });
  const cut = all('p, li, dd, h1, h2').filter((part) => part.getBoundingClientRect().right > WIDTH + 1);
  const style = event.target.contentWindow.getComputedStyle(page.body);
  document.getElementById('seen').textContent = JSON.stringify({
    width: page.documentElement.scrollWidth, figures: all('figure svg').length, outside,
    cut: cut.map((part) => part.textContent.slice(0, 60)),
    smallest: Math.min(...all('svg text').map((text) => text.getBoundingClientRect().height)),
    scripts: page.scripts.length, rows: all('tbody tr').length, ink: style.color, paper: style.backgroundColor,
  });
};
</script></body>"#;

/// What is seen of the report at `width`; `None` where there is no Chromium.
fn seen(folder: &Path, width: u32, dark: bool) -> Option<Value> {
    let page = folder.join(format!("look-{width}.html"));
    std::fs::write(&page, LOOK.replace("WIDTH", &width.to_string())).unwrap();
    let profile = folder.join("profile");
    let output = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|program| {
        let mut command = Command::new(program);
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            "--dump-dom",
        ]);
        command.args(["--virtual-time-budget=20000", "--window-size=1600,3200"]);
        if dark {
            command.arg("--blink-settings=preferredColorScheme=0");
        }
        command.arg(format!("--user-data-dir={}", profile.display())).arg(format!("file://{}", page.display()));
        command.stdin(Stdio::null()).output().ok()
    })?;
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen = dom.split("<pre id=\"seen\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let text = seen.unwrap_or_default().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {dom:.2000}")))
}

fn brightness(colour: &str) -> f64 {
    let digits = colour.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).take(3);
    digits.map(|part| part.parse::<f64>().unwrap()).sum::<f64>() / 3.0
}

#[test]
fn the_report_fits_a_desk_and_a_phone_in_light_and_dark() {
    let folder = tempfile::tempdir().unwrap();
    let (set, store) = (folder.path().join("set"), folder.path().join("store"));
    let spec = GenerateSpec {
        train_files: 10,
        val_files: 2,
        test_files: 2,
        rows_per_file: 500,
        row_group_rows: 500,
        seed: 12,
    };
    generate(&set, &spec, 2, &|_| {}).unwrap();
    run(&store, &["sweep", "smoke", "--data", set.to_str().unwrap(), "--quiet", "--warmup", "0"]);
    let report = folder.path().join("report.html");
    run(&store, &["report", "smoke", "--out", report.to_str().unwrap()]);
    for (width, dark) in [(1280, false), (390, false), (390, true)] {
        let Some(seen) = seen(folder.path(), width, dark) else {
            println!("skipped: no chromium on the PATH");
            return;
        };
        assert!(seen["width"].as_u64().unwrap() <= u64::from(width), "it scrolls sideways: {seen:#}");
        assert!(seen["figures"].as_u64().unwrap() >= 6, "{seen:#}");
        assert_eq!(seen["outside"].as_array().map(Vec::len), Some(0), "text leaves its chart: {seen:#}");
        assert_eq!(seen["cut"].as_array().map(Vec::len), Some(0), "text leaves the page: {seen:#}");
        assert!(seen["smallest"].as_f64().unwrap() >= 9.0, "too small to read: {seen:#}");
        assert_eq!(seen["scripts"].as_u64(), Some(0));
        assert!(seen["rows"].as_u64().unwrap() >= 8, "every run has its row: {seen:#}");
        let [ink, paper] = ["ink", "paper"].map(|what| brightness(seen[what].as_str().unwrap()));
        assert!(if dark { ink > paper + 150.0 } else { paper > ink + 150.0 }, "{seen:#}");
    }
}
