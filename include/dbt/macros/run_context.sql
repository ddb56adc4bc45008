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

{#- Whether this model is compared whole: after a rebuild of its layer, and where nothing of it was published yet. -#}
{% macro compares_whole() -%}
    {%- set layers = {'none': [], 'gold': ['gold'], 'silver': ['silver', 'gold']} -%}
    {{ return(model.schema in layers[run_context().compare_whole] or table_name(this) not in run_context().snapshots) }}
{%- endmacro %}

{#- A table of the lake as the run's snapshots name it. -#}
{% macro table_name(relation) -%}
    {{ return(relation.schema ~ '.' ~ relation.identifier) }}
{%- endmacro %}

{#- A predicate: the row was written after the last publication. -#}
{% macro is_changed() -%}
    {{ 'true' if compares_whole() else '_batch > ' ~ run_context().published_batch }}
{%- endmacro %}

{#- A relation as it was at the last publication; empty where it was then, or where the model is compared whole. -#}
{% macro as_published(relation) -%}
    {%- set snapshot = none if compares_whole() else run_context().snapshots.get(table_name(relation)) -%}
    {%- if not snapshot -%}
        (select * from {{ relation }} where false)
    {%- else -%}
        (select * from {{ relation }} {{ 'for ' if target.type == 'trino' }}version as of {{ snapshot }})
    {%- endif -%}
{%- endmacro %}

{#- A predicate: the row is to be tested; hourly those written since the last publication, by hand all. -#}
{% macro tested_rows() -%}
    {{ 'true' if run_context().tested_rows == 'all' else '_batch > ' ~ run_context().published_batch }}
{%- endmacro %}
