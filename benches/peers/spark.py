#!/usr/bin/env python3
"""Trains Spark MLlib's random forest on a data set in FRACTAL's layout and prints its accuracy and times.

    pip install pyspark==3.5.7 numpy==1.26.4        # needs Java 17
    python benches/peers/spark.py DATA [--seeds 62,1,2,3,4] [--memory 8g] [--cores 2]

The pipeline is the one that fractal replaces: z / sd(z), Intensity, Red, Green, Blue, Infrared, ndvi; 40 trees of depth 6,
32 bins. A line of JSON per seed; the last one holds the means. Times include reading the files, as Spark reads them again
in every pass; JVM start-up is not included.
"""

import argparse
import json
import statistics
import sys
import time

from pyspark.ml import Pipeline
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def subset(spark, root, name):
    red, infrared = F.col("Red").cast("double"), F.col("Infrared").cast("double")
    total = infrared + red
    return spark.read.parquet(f"{root}/{name}").select(
        F.col("xyz")[2].alias("z_raw"),
        "Intensity", "Red", "Green", "Blue", "Infrared",
        F.when(total != 0, (infrared - red) / total).otherwise(0.0).alias("ndvi"),
        F.col("Classification").cast("double").alias("label"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", default="62,1,2,3,4")
    parser.add_argument("--trees", type=int, default=40)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--memory", default="8g")
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()
    spark = (
        SparkSession.builder.master(f"local[{args.cores}]").appName("fractal-peer")
        .config("spark.driver.memory", args.memory).config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    train, val, test = (subset(spark, args.data, name) for name in ("train", "val", "test"))
    z = VectorAssembler(inputCols=["z_raw"], outputCol="z_vec", handleInvalid="skip")
    scaled = StandardScaler(inputCol="z_vec", outputCol="z", withMean=False, withStd=True)
    columns = ["z", "Intensity", "Red", "Green", "Blue", "Infrared", "ndvi"]
    features = VectorAssembler(inputCols=columns, outputCol="features", handleInvalid="skip")
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy")
    results = []
    for seed in map(int, args.seeds.split(",")):
        forest = RandomForestClassifier(numTrees=args.trees, maxDepth=args.depth, maxBins=32, seed=seed)
        start = time.time()
        model = Pipeline(stages=[z, scaled, features, forest]).fit(train)
        trained = time.time()
        result = {
            "seed": seed,
            "val_accuracy": evaluator.evaluate(model.transform(val)),
            "test_accuracy": evaluator.evaluate(model.transform(test)),
            "training_time_sec": trained - start,
            "total_time_sec": time.time() - start,
        }
        results.append(result)
        print(json.dumps(result), flush=True)
    means = {key: statistics.mean(result[key] for result in results) for key in results[0] if key != "seed"}
    print(json.dumps({"seed": "mean", **means}))
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
