{#- Overrides of dbt's macros about sources: the catalog of Trino that leads to the source is a setting. -#}

{% macro source(source_name, table_name) -%}
    {{ return(in_source_catalog(builtins.source(source_name, table_name))) }}
{%- endmacro %}

{% macro in_source_catalog(relation) -%}
    {#- Spark reads no source, and its relations have no catalog. -#}
    {%- set catalog = env_var('MEDALLION_SOURCE_CATALOG', 'postgres') -%}
    {{ return(relation.incorporate(path={'database': catalog}) if target.type == 'trino' else relation) }}
{%- endmacro %}

{#-
  The age of a source table: its last change up to now, as a moment. A cursor ahead of the clock is left out: it
  would keep a table fresh for ever. PostgreSQL computes the age, because Trino can't read infinity.
-#}
{% macro trino__collect_freshness(source, loaded_at_field, filter) %}
    {%- set relation = in_source_catalog(source) -%}
    {%- set node = graph.sources.values() | selectattr('schema', 'equalto', source.schema)
        | selectattr('identifier', 'equalto', source.identifier) | first -%}
    {%- set cursor = declared_cursor(node, read_source_catalog(relation)) -%}
    {%- if cursor.kind == 'number' -%}
        {{ exceptions.raise_compiler_error(
            cursor.label ~ ' is a number, which has no age: remove freshness from ' ~ node.original_file_path
        ) }}
    {%- endif -%}
    {%- set newest -%}
        select {{ cursor_moment(cursor) }} as max_loaded_at, now() as snapshotted_at
        from (
            select max({{ cursor_column(cursor) }}) as {{ postgres_name(cursor.name) }}
            from {{ postgres_table(relation) }} as source
            where not {{ cursor_is_ahead(cursor) }} and {{ filter or 'true' }}
        ) as source
    {%- endset -%}
    {% call statement('collect_freshness', fetch_result=True, auto_begin=False) -%}
        select max_loaded_at, snapshotted_at
        from {{ on_source(relation, newest) }}
    {%- endcall %}
    {{ return(load_result('collect_freshness')) }}
{% endmacro %}
