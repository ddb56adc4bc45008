"""Build silver staging again and again in one Spark session.

`pipeline.InProcessPipeline` starts it. Each line of its input is JSON, {"entities", "run"}: declarations and the run's
context, each as JSON. For each line it prints a line of JSON: "done", or the error.
"""

import json
import sys

from pyspark.sql import SparkSession

from medallion_spark.entity import Entity
from medallion_spark.run import Run, RunContext
from medallion_spark.update import INTERPRETED, SETTINGS, update_entities

with SparkSession.builder.appName("silver server").config(map=SETTINGS | INTERPRETED).getOrCreate() as spark:
    spark.sparkContext.setLogLevel("ERROR")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            run = Run(spark, RunContext.from_json(request["run"]))
            update_entities(run, [Entity.from_json(text) for text in request["entities"]])
            outcome = "done"
        except Exception as error:  # noqa: BLE001, any error fails the test
            outcome = repr(error)
        print(json.dumps(outcome), flush=True)
