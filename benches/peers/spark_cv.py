#!/usr/bin/env python3
"""Cross-validates Spark MLlib's random forest as `fractal-run sweep experiment-3` does, and prints the scores.

    pip install pyspark==3.5.7 numpy==1.26.4        # needs Java 17
    python benches/peers/spark_cv.py thin DATA OUT --one-in 10       # a smaller set, for both programs
    python benches/peers/spark_cv.py run OUT [--trees 50,100,200] [--depths 6,8,10] [--folds 5] [--seed 62]

`thin` keeps one row in N, chosen by a hash of its coordinates, so that it is the same set whenever and wherever it is
made. `run` hands the grid to Spark's own CrossValidator (metric: accuracy) and refits the best on all of train. A line of
JSON per point of the grid; the last one has the choice and the accuracy of the refitted forest on val and test.
"""

import argparse
import json
import sys
import time

from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark import subset

SUBSETS = ("train", "val", "test")


def thin(spark, args):
    for name in SUBSETS:
        rows = spark.read.parquet(f"{args.data}/{name}")
        kept = rows.where(F.pmod(F.xxhash64("xyz"), F.lit(args.one_in)) == 0)
        # Some files, as the program deals whole files and row groups to its threads.
        kept.repartitionByRange(args.files, F.xxhash64("xyz")).write.mode("overwrite").parquet(f"{args.out}/{name}")
        print(json.dumps({"subset": name, "rows": spark.read.parquet(f"{args.out}/{name}").count()}), flush=True)


def run(spark, args):
    # A tree does not care for the scale of a feature, so z needs no scaling here.
    columns = ["z_raw", "Intensity", "Red", "Green", "Blue", "Infrared", "ndvi"]
    features = VectorAssembler(inputCols=columns, outputCol="features", handleInvalid="skip")
    train, val, test = (
        features.transform(subset(spark, args.data, name)).select("features", "label") for name in SUBSETS
    )
    train = train.cache()
    trees, depths = ([int(value) for value in text.split(",")] for text in (args.trees, args.depths))
    forest = RandomForestClassifier(maxBins=32, seed=args.seed)
    grid = ParamGridBuilder().addGrid(forest.numTrees, trees).addGrid(forest.maxDepth, depths).build()
    accuracy = MulticlassClassificationEvaluator(metricName="accuracy")
    validator = CrossValidator(
        estimator=forest, estimatorParamMaps=grid, evaluator=accuracy, numFolds=args.folds, seed=args.seed,
        parallelism=1,
    )
    rows, start = train.count(), time.time()
    model = validator.fit(train)
    seconds = time.time() - start
    for params, mean, deviation in zip(grid, model.avgMetrics, model.stdMetrics):
        print(json.dumps({
            "trees": params[forest.numTrees], "depth": params[forest.maxDepth],
            "accuracy": mean, "deviation": deviation,
        }))
    best = model.bestModel
    print(json.dumps({
        "rows": rows, "chosen_trees": best.getNumTrees, "chosen_depth": best.getMaxDepth(),
        "accuracy": max(model.avgMetrics),
        "val_accuracy": accuracy.evaluate(best.transform(val)),
        "test_accuracy": accuracy.evaluate(best.transform(test)),
        "seconds": seconds,
    }))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", default="4g")
    parser.add_argument("--cores", type=int, default=2)
    commands = parser.add_subparsers(dest="command", required=True)
    thinner = commands.add_parser("thin")
    thinner.add_argument("data")
    thinner.add_argument("out")
    thinner.add_argument("--one-in", type=int, default=10)
    thinner.add_argument("--files", type=int, default=8)
    runner = commands.add_parser("run")
    runner.add_argument("data")
    runner.add_argument("--trees", default="50,100,200")
    runner.add_argument("--depths", default="6,8,10")
    runner.add_argument("--folds", type=int, default=5)
    runner.add_argument("--seed", type=int, default=62)
    args = parser.parse_args()
    spark = (
        SparkSession.builder.master(f"local[{args.cores}]").appName("fractal-peer")
        .config("spark.driver.memory", args.memory).config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", args.cores)
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    {"thin": thin, "run": run}[args.command](spark, args)
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
