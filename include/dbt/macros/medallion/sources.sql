{#- Overrides of dbt's macros about sources: the catalog of Trino that leads to the source is a setting. -#}

{% macro source(source_name, table_name) -%}
    {{ return(in_source_catalog(builtins.source(source_name, table_name))) }}
{%- endmacro %}

{% macro in_source_catalog(relation) -%}
    {#- Spark reads no source, and its relations have no catalog. -#}
    {%- set catalog = env_var('MEDALLION_SOURCE_CATALOG', 'postgres') -%}
    {{ return(relation.incorporate(path={'database': catalog}) if target.type == 'trino' else relation) }}
{%- endmacro %}

{#- A time in the future does not make a table fresh, and only PostgreSQL can read infinity. -#}
{% macro trino__collect_freshness(source, loaded_at_field, filter) %}
    {%- set relation = in_source_catalog(source) -%}
    {%- set cursor = '"' ~ loaded_at_field | replace('"', '""') ~ '"' -%}
    {%- set newest -%}
        select max({{ cursor }})::timestamptz as max_loaded_at, now() as snapshotted_at
        from {{ postgres_table(relation) }}
        where {{ cursor }} <= now() and {{ filter or 'true' }}
    {%- endset -%}
    {% call statement('collect_freshness', fetch_result=True, auto_begin=False) -%}
        select max_loaded_at, snapshotted_at
        from {{ on_source(relation, newest) }}
    {%- endcall %}
    {{ return(load_result('collect_freshness')) }}
{% endmacro %}
