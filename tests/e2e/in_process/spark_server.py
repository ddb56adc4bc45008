"""Build silver staging on request, always in the same Spark session, so that no test waits for a new one.

`pipeline.InProcessPipeline` starts this script. Each line of its input is a request in JSON, with the keys `entities`,
a list of declarations, and `run`, the run's context. The script answers with a line of JSON: "done", or the error.
"""

import json
import sys

from medallion_spark.entity import Entity
from medallion_spark.run import Run, RunContext, spark_session
from medallion_spark.update import INTERPRETED, SETTINGS, update_entities

with spark_session("silver server", SETTINGS | INTERPRETED) as spark:
    for line in sys.stdin:
        request = json.loads(line)
        try:
            run = Run(spark, RunContext.from_json(request["run"]))
            update_entities(run, [Entity.from_json(text) for text in request["entities"]])
            outcome = "done"
        except Exception as error:  # noqa: BLE001, any error fails the test
            outcome = repr(error)
        print(json.dumps(outcome), flush=True)
