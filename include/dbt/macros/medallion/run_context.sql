{#-
  The run's context, the JSON that Airflow passes to every engine (see plugins/medallion/run/state.py), here in the
  variable MEDALLION_RUN. It is read only while a model runs: a variable that is read while parsing makes dbt parse
  every model again whenever its value changes. If dbt is called by hand, the defaults below apply:
  tests read all rows, and no model runs.
-#}
{% macro run_context() -%}
    {%- set by_hand -%}
        {"kind": null, "batch": 0, "published_batch": 0, "extract_from": null, "snapshots": {}, "compare_whole": "silver", "outdated": [], "tested_rows": "all", "lake_catalog": "lake", "gold_catalog": "postgres_gold", "target_file_bytes": 134217728}
    {%- endset -%}
    {{ return(fromjson(env_var('MEDALLION_RUN', by_hand) if execute else by_hand)) }}
{%- endmacro %}

{% macro batch() -%}
    cast({{ run_context().batch }} as bigint)
{%- endmacro %}

{% macro table_name(relation) -%}
    {{ return(relation.schema ~ '.' ~ relation.identifier) }}
{%- endmacro %}

{% macro tested_rows() -%}
    {{ 'true' if run_context().tested_rows == 'all' else '_batch > ' ~ run_context().published_batch }}
{%- endmacro %}
