{#- Creates the table where it is missing and adds the columns that it lacks; returns the type of each, by name. -#}
{% macro ensure_table(columns) -%}
    {%- if not env_var('MEDALLION_RUN', '') -%}
        {{ exceptions.raise_compiler_error(
            'A model is written by a run alone, under its lease and batch: trigger medallion_hourly, or `make rebuild`'
            ' after a model changed. By hand dbt tests and documents.'
        ) }}
    {%- endif -%}
    {#- Named `main`: the one statement that every model has, also where nothing is extracted. -#}
    {% call statement('main') %}{{ create_iceberg_table(columns) }}{% endcall %}
    {%- set data_types = {} -%}
    {%- for column in adapter.get_columns_in_relation(this) -%}
        {%- do data_types.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {% for column in columns if column.name not in data_types %}
        {{ log(this ~ ': adds the new column ' ~ column.name, info=true) }}
        {% call statement('add_column') %}alter table {{ this }} add column {{ column_definition(column) }}{% endcall %}
        {%- do data_types.update({column.name: column.data_type}) -%}
    {% endfor %}
    {{ return(data_types) }}
{%- endmacro %}

{% macro column_definition(column) -%}
    {{ adapter.quote(column.name) }} {{ column.data_type }} comment '{{ column.description | trim | replace("'", "''") }}'
{%- endmacro %}

{% macro create_iceberg_table(columns) -%}
    {{ return(adapter.dispatch('create_iceberg_table')(columns)) }}
{%- endmacro %}

{% macro trino__create_iceberg_table(columns) -%}
    create table if not exists {{ this }} (
        {% for column in columns %}{{ column_definition(column) }}{{ ',\n        ' if not loop.last }}{% endfor %}
    )
    comment '{{ model.description | trim | replace("'", "''") }}'
    with (
        format = 'PARQUET',
        format_version = 2,
        partitioning = array[{% for part in config.meta_get('partitioning', []) %}'{{ part }}'{{ ', ' if not loop.last }}{% endfor %}]
    )
{%- endmacro %}

{% macro spark__create_iceberg_table(columns) -%}
    create table if not exists {{ this }} (
        {% for column in columns %}{{ column_definition(column) }}{{ ',\n        ' if not loop.last }}{% endfor %}
    )
    using iceberg
    {% if config.meta_get('partitioning') %}partitioned by ({{ config.meta_get('partitioning') | join(', ') }}){% endif %}
    comment '{{ model.description | trim | replace("'", "''") }}'
    tblproperties (
        'format-version' = '2',
        'write.merge.mode' = 'merge-on-read',
        'write.parquet.compression-codec' = 'zstd',
        'write.target-file-size-bytes' = '134217728'
    )
{%- endmacro %}

{% macro merge_into(columns, select_sql, target_bounds=[]) -%}
    merge into {{ this }} as target
    using (
        {{ select_sql }}
    ) as incoming
    on {% for key in config.require('unique_key') %}{{ 'and ' if not loop.first }}target.{{ key }} = incoming.{{ key }} {% endfor %}
    {%- for bound in target_bounds %} and {{ bound }}{% endfor %}
{%- endmacro %}

{% macro updated_columns(columns) -%}
    {%- set kept = config.require('unique_key') -%}
    {{ return(columns | map(attribute='name') | reject('in', kept) | list) }}
{%- endmacro %}

{% macro row_differs(columns) -%}
    {% for name in updated_columns(columns) | reject('equalto', '_batch') -%}
        {{ 'or ' if not loop.first }}target.{{ name }} is distinct from incoming.{{ name }}
    {% endfor %}
{%- endmacro %}

{% macro update_set(columns) -%}
    update set {% for name in updated_columns(columns) %}{{ name }} = incoming.{{ name }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{% macro insert_row(columns) -%}
    insert ({% for column in columns %}{{ adapter.quote(column.name) }}{{ ', ' if not loop.last }}{% endfor %})
    values ({% for column in columns %}incoming.{{ adapter.quote(column.name) }}{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}
