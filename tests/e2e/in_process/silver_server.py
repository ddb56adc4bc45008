"""Runs the silver job again and again in one Spark session: a line of JSON in, a line with the outcome out.

Started by `pipeline.WarmPipeline`. In: {"entities", "batch", "published_batch", "rebuild"}. Out: "done", or the error.
"""

import json
import sys

from pyspark.sql import SparkSession

from entities import ENTITIES
from silver import SETTINGS, Run, bring_up_to_date
from spark_settings import INTERPRETED

with SparkSession.builder.appName("warm silver").config(map=SETTINGS | INTERPRETED).getOrCreate() as spark:
    spark.sparkContext.setLogLevel("ERROR")
    for line in sys.stdin:
        asked = json.loads(line)
        run = Run(spark, asked["batch"], asked["published_batch"], asked["rebuild"] == "silver")
        try:
            bring_up_to_date(run, [ENTITIES[name] for name in asked["entities"]])
            outcome = "done"
        except Exception as error:  # noqa: BLE001, whatever it is fails the test
            outcome = repr(error)
        print(json.dumps(outcome), flush=True)
