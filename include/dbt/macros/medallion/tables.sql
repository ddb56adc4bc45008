{% macro require_run() -%}
    {%- if not env_var('MEDALLION_RUN', '') -%}
        {{ exceptions.raise_compiler_error(
            'Trigger medallion_hourly, or run `make rebuild` after a model changed: only a run writes a model, under its'
            ' lease and batch. By hand dbt tests and documents.'
        ) }}
    {%- endif -%}
{%- endmacro %}

{% macro ensure_table(columns) -%}
    {% do require_run() %}
    {%- set data_types = lake_columns() -%}
    {%- set is_new = not data_types -%}
    {%- if is_new -%}
        {% do create_table(columns) %}
    {%- endif -%}
    {% for column in columns if column.name not in data_types %}
        {%- if not is_new -%}
            {{ log(this ~ ': adds the new column ' ~ column.name, info=true) }}
            {% call statement('add_column') %}alter table {{ this }} add column {{ column_definition(column) }}{% endcall %}
        {%- endif -%}
        {%- do data_types.update({column.name: column.data_type}) -%}
    {% endfor %}
    {{ return(data_types) }}
{%- endmacro %}

{% macro column_definition(column) -%}
    {{ quote_identifier(column.name) }} {{ column.data_type }} comment {{ text_literal(column.description | trim) }}
{%- endmacro %}

{% macro create_table(columns) -%}
    {% do adapter.create_schema(this) %}
    {% call statement('create') %}
        create table if not exists {{ this }} (
            {% for column in columns %}{{ column_definition(column) }}{{ ',\n            ' if not loop.last }}{% endfor %}
        )
        {{ table_properties() }}
    {% endcall %}
{%- endmacro %}

{#- A single commit, after which the snapshots of the earlier table can still be read. -#}
{% macro replace_iceberg_table(rows) -%}
    create or replace table {{ this }}
    {{ table_properties() }}
    as
    select *
    from (
        {{ rows }}
    ) as present
    where _batch is not null
{%- endmacro %}

{% macro table_properties() -%}
    {{ return(adapter.dispatch('table_properties')()) }}
{%- endmacro %}

{% macro trino__table_properties() -%}
    comment {{ text_literal(model.description | trim) }}
    with (
        format = 'PARQUET',
        format_version = 2,
        partitioning = array[{% for part in config.meta_get('partitioning', []) %}{{ text_literal(part) }}{{ ', ' if not loop.last }}{% endfor %}]
    )
{%- endmacro %}

{% macro spark__table_properties() -%}
    using iceberg
    {% if config.meta_get('partitioning') %}partitioned by ({{ config.meta_get('partitioning') | join(', ') }}){% endif %}
    comment {{ text_literal(model.description | trim) }}
    tblproperties (
        'format-version' = '2',
        'write.merge.mode' = 'merge-on-read',
        'write.parquet.compression-codec' = 'zstd',
        'write.target-file-size-bytes' = '{{ run_context().target_file_bytes }}'
    )
{%- endmacro %}

{% macro comment_on_column(column) -%}
    {%- if target.type == 'spark' -%}
        alter table {{ this }} alter column {{ quote_identifier(column.name) }} comment {{ text_literal(column.description | trim) }}
    {%- else -%}
        comment on column {{ this }}.{{ quote_identifier(column.name) }} is {{ text_literal(column.description | trim) }}
    {%- endif -%}
{%- endmacro %}

{% macro merge_into(columns, select_sql, target_bounds=[]) -%}
    merge into {{ this }} as target
    using (
        {{ select_sql }}
    ) as incoming
    on {% for key in quoted(key_columns()) %}{{ 'and ' if not loop.first }}target.{{ key }} = incoming.{{ key }} {% endfor %}
    {%- for bound in target_bounds %} and {{ bound }}{% endfor %}
{%- endmacro %}

{% macro updated_columns(columns) -%}
    {{ return(columns | map(attribute='name') | reject('in', key_columns()) | list) }}
{%- endmacro %}

{% macro row_differs(columns) -%}
    {% for name in quoted(updated_columns(columns) | reject('equalto', '_batch')) -%}
        {{ 'or ' if not loop.first }}target.{{ name }} is distinct from incoming.{{ name }}
    {% endfor %}
{%- endmacro %}

{% macro update_set(columns) -%}
    update set {% for name in quoted(updated_columns(columns)) %}{{ name }} = incoming.{{ name }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{% macro insert_row(columns) -%}
    {%- set names = columns | map(attribute='name') | list -%}
    insert ({{ quoted(names) | join(', ') }})
    values ({{ quoted(names, 'incoming') | join(', ') }})
{%- endmacro %}
