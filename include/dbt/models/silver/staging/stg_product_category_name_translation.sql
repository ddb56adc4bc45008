-- Written by include/spark_jobs/silver.py from:
select * from {{ ref('product_category_name_translation') }}
