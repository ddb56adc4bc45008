-- Built by include/spark_jobs/build_entities.py from:
select * from {{ ref('product_category_name_translation') }}
