{#-
  What the run passes by the variable MEDALLION_RUN (see plugins/medallion/run_state.py), read as a model runs:
  a new window forces no new parse. Without it, by hand, tests take all rows, and no model runs.
-#}
{% macro run_context() -%}
    {%- set by_hand -%}
        {"kind": null, "batch": 0, "published_batch": 0, "extract_from": null, "snapshots": {}, "compare_whole": "silver", "tested_rows": "all"}
    {%- endset -%}
    {#- Not asked while dbt parses, which would parse again all models whenever a variable that they asked for changed. -#}
    {{ return(fromjson(env_var('MEDALLION_RUN', by_hand) if execute else by_hand)) }}
{%- endmacro %}

{% macro batch() -%}
    cast({{ run_context().batch }} as bigint)
{%- endmacro %}

{#- A predicate: the row is to be tested; hourly those written since the last publication, by hand all. -#}
{% macro tested_rows() -%}
    {{ 'true' if run_context().tested_rows == 'all' else '_batch > ' ~ run_context().published_batch }}
{%- endmacro %}
