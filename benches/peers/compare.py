#!/usr/bin/env python3
"""Trains the same forest on the same files with fractal and with other programs, and prints one table.

    python3 -m venv peers && peers/bin/pip install -r benches/peers/requirements.txt
    fractal-run generate --out DATA --train-files 16 --val-files 3 --test-files 3 --rows-per-file 74000
    peers/bin/python benches/peers/compare.py DATA --fractal target/release/fractal-run [--spark-python PYTHON]

40 trees of depth 6, 32 bins, 3 of 7 features a node, where the program has such a setting. Each peer runs once, in a
process of its own, one after the other; fractal, whose runs are short, runs thrice before each of them and after the
last, and the run with the median of its training times counts. A peer's total runs from before it reads the first file
to after it scored the last row, without the start of its interpreter or JVM and without imports; fractal's runs from the
start of its process to its end, record and workers' processes included. Peak RSS is that of the largest process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

COLUMNS = ["Intensity", "Red", "Green", "Blue", "Infrared"]
PEERS = ["sklearnex", "snapml", "lightgbm", "xgboost"]
SCANS = ["duckdb", "polars", "pyarrow"]


def read(root, subset):
    """Features (float32, rows × 7) and label codes of a subset, as numpy arrays."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(os.path.join(root, subset), columns=["xyz", *COLUMNS, "Classification"])
    rows = table.num_rows
    features = np.empty((rows, 7), dtype=np.float32)
    features[:, 0] = table["xyz"].combine_chunks().flatten().to_numpy()[2::3]
    for place, name in enumerate(COLUMNS, 1):
        features[:, place] = table[name].to_numpy()
    red, infrared = features[:, 2].astype(np.float64), features[:, 5].astype(np.float64)
    total = infrared + red
    features[:, 6] = np.where(total != 0, (infrared - red) / np.where(total != 0, total, 1), 0)
    return features, table["Classification"].to_numpy().astype(np.int32)


def model(name, threads, classes):
    """The peer's classifier."""
    if name == "sklearnex":
        from sklearnex.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            n_estimators=40, max_depth=6, max_bins=32, max_features=3, n_jobs=threads, random_state=62
        )
    if name == "snapml":
        from snapml import RandomForestClassifier

        return RandomForestClassifier(
            n_estimators=40, max_depth=6, use_histograms=True, hist_nbins=32, max_features=3, n_jobs=threads,
            random_state=62,
        )
    if name == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(
            boosting_type="rf", n_estimators=40, max_depth=6, num_leaves=64, max_bin=32, subsample=0.632,
            subsample_freq=1, feature_fraction_bynode=3 / 7, min_child_samples=1, n_jobs=threads, random_state=62,
            verbosity=-1,
        )
    if name == "xgboost":
        from xgboost import XGBRFClassifier

        return XGBRFClassifier(
            n_estimators=40, max_depth=6, max_bin=32, tree_method="hist", subsample=0.632, colsample_bynode=3 / 7,
            n_jobs=threads, random_state=62, num_class=classes,
        )
    raise SystemExit(f"{name} is no peer")


def train(name, root, threads):
    """One peer, in this process: prints its times as JSON."""
    import numpy as np
    import pyarrow.parquet  # noqa: F401  (imports are not timed)

    model(name, threads, 2)
    start = time.time()
    features, labels = read(root, "train")
    codes, dense = np.unique(labels, return_inverse=True)
    loaded = time.time()
    forest = model(name, threads, len(codes)).fit(features, dense)
    trained = time.time()
    rows, scores, load_others = len(dense), {}, 0.0
    del features
    for subset in ("val", "test"):
        begun = time.time()
        features, labels = read(root, subset)
        load_others += time.time() - begun
        scores[subset] = float(np.mean(codes[np.asarray(forest.predict(features)).astype(int)] == labels))
    end = time.time()
    print(json.dumps({
        "rows": rows, "load": loaded - start, "train": trained - loaded, "score": end - trained, "total": end - start,
        "val": scores["val"], "test": scores["test"],
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))


def scan(name, root, threads):
    """Seconds to read the needed columns of train, the second time."""
    files = os.path.join(root, "train", "*.parquet")
    wanted = ["xyz", *COLUMNS, "Classification"]

    def once():
        if name == "duckdb":
            import duckdb

            sums = ", ".join(f'sum("{column}")' for column in wanted[1:])
            connection = duckdb.connect(config={"threads": threads})
            return connection.execute(f"select count(*), sum(xyz[3]), {sums} from read_parquet('{files}')").fetchone()[0]
        if name == "polars":
            import polars as pl

            return pl.scan_parquet(files).select(wanted).collect().height
        import pyarrow.dataset as ds

        return ds.dataset(os.path.join(root, "train")).to_table(columns=wanted).num_rows

    once()
    start = time.time()
    rows = once()
    print(json.dumps({"rows": rows, "total": time.time() - start}))


def fractal(binary, root, threads):
    start = time.time()
    run = subprocess.run(
        [binary, "--data", root, "--cores", str(threads), "--json", "--quiet", "--store", "/tmp/fractal-compare"],
        check=True, capture_output=True, text=True,
    )
    total = time.time() - start
    result = json.loads(run.stdout)
    phase = lambda name: (result["phases"].get(name) or {}).get("wall_sec") or 0.0
    return {
        "rows": result["train_count"], "load": phase("fit_bins") + phase("load"), "train": phase("train"),
        "score": phase("evaluate"), "total": total, "val": result["val_accuracy"], "test": result["test_accuracy"],
        "rss_mb": max(worker["peak_rss_bytes"] for worker in result["workers"].values()) / 2**20,
    }


def spark(python, root, threads, memory):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "spark.py")
    run = subprocess.run(
        [python, script, root, "--seeds", "62", "--cores", str(threads), "--memory", memory],
        capture_output=True, text=True,
    )
    if run.returncode != 0:
        return failure(run)
    result = json.loads(run.stdout.splitlines()[0])
    return {
        "load": None, "train": result["training_time_sec"],
        "score": result["total_time_sec"] - result["training_time_sec"], "total": result["total_time_sec"],
        "val": result["val_accuracy"], "test": result["test_accuracy"],
        # The JVM is no child of this process, and its size is what it was allowed rather than what it needs.
        "rss_mb": None,
    }


def itself(*arguments):
    run = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    return failure(run) if run.returncode != 0 else json.loads(run.stdout.splitlines()[-1])


def failure(run):
    return {"failed": (run.stderr.strip().splitlines() or ["without a word"])[-1]}


def cell(value, digits):
    return "–" if value is None else f"{value:,.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--fractal", default="fractal-run", help="the binary")
    parser.add_argument("--spark-python", help="a Python that has pyspark (see spark.py); without it Spark is left out")
    parser.add_argument("--spark-memory", default="8g", help="what Spark's JVM may take")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="peers, comma-separated; fractal always runs")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--scan", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return train(args.peer, args.data, args.threads)
    if args.scan:
        return scan(args.scan, args.data, args.threads)
    only = args.only.split(",") if args.only else [*PEERS, "spark"]
    results, own = {}, []
    threads = ["--threads", str(args.threads)]
    # Whoever is first may not find the files in the page cache: fractal runs once before, unmeasured.
    fractal(args.fractal, args.data, args.threads)
    runs = {name: lambda name=name: itself(args.data, "--peer", name, *threads) for name in PEERS}
    if args.spark_python:
        runs["spark"] = lambda: spark(args.spark_python, args.data, args.threads, args.spark_memory)

    def turn():
        own.extend(fractal(args.fractal, args.data, args.threads) for _ in range(3))

    for name in (name for name in runs if name in only):
        turn()
        print(f"running: {name}", end=" ", file=sys.stderr, flush=True)
        results[name] = runs[name]()
        print(json.dumps(results[name]), file=sys.stderr, flush=True)
    turn()
    own.sort(key=lambda run: run["train"])
    base = own[len(own) // 2]
    results = {"fractal": base, **results}
    print("| program | load s | train s | score s | total s | × fractal's train | × fractal's total | val / test | peak RSS MB |")
    print("|---|---:|---:|---:|---:|---:|---:|---|---:|")
    for name, found in results.items():
        if "failed" in found:
            print(f"| {name} | failed: {found['failed']} |||||||| ")
            continue
        ratio = lambda key: cell(found[key] / base[key], 1)
        print(
            f"| {name} | {cell(found['load'], 2)} | {cell(found['train'], 2)} | {cell(found['score'], 2)} | "
            f"{cell(found['total'], 2)} | {ratio('train')} | {ratio('total')} | "
            f"{found['val']:.4f} / {found['test']:.4f} | {cell(found['rss_mb'], 0)} |",
            flush=True,
        )
    span = f"{own[0]['train']:.2f} to {own[-1]['train']:.2f} s"
    print(f"\n{base['rows']:,} rows of train, {args.threads} threads; fractal trained in {span} in {len(own)} runs\n")
    print("| scan of the needed columns of train | M rows/s |")
    print("|---|---:|")
    for name in SCANS:
        found = itself(args.data, "--scan", name, *threads)
        print(f"| {name} | {found['failed'] if 'failed' in found else cell(found['rows'] / found['total'] / 1e6, 1)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
