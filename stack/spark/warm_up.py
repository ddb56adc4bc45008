"""A small job with the steps of the real Spark jobs; Java records the classes that it loads into an archive.

Usage: spark-submit --conf spark.sql.catalog.warm=… warm_up.py; `warm` is a temporary Iceberg catalog.
"""

from pyspark.sql import SparkSession, functions
from pyspark.sql.window import Window

spark = SparkSession.builder.getOrCreate()
rows = spark.createDataFrame(
    [(1, "2024-01-01 00:00:00", "1.50"), (2, "x", None)], "id int, at string, price string"
)
typed = rows.select(
    "id",
    functions.try_to_timestamp("at").cast("timestamp_ntz").alias("at"),
    functions.col("price").try_cast("decimal(18,2)").alias("price"),
    functions.array("at").alias("flags"),
    functions.to_json(functions.struct("id", "at")).alias("row"),
)
spark.sql("create namespace warm.db")
typed.writeTo("warm.db.t").using("iceberg").partitionedBy(functions.months("at")).create()
latest = functions.row_number().over(Window.partitionBy("id").orderBy(functions.desc("at")))
typed.withColumn("n", latest).where("n = 1").drop("n").createOrReplaceTempView("changes")
spark.sql("""
    merge into warm.db.t using changes on t.id = changes.id
    when matched then update set *
    when not matched then insert *
""")
spark.table("warm.db.t").groupBy("at").agg(functions.sum("price"), functions.count("*")).collect()
