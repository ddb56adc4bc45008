-- Written by include/spark_jobs/silver.py from:
select * from {{ ref('order_items') }}
