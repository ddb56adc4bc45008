{#-
  Materialization `converged`: one MERGE, one atomic commit, whatever the state before it.

  The model selects the rows that its changed keys should have now; a key that has none any more comes as a
  row whose `_batch` is null (see `batch_where` and `with_vanished`). Rows that differ are updated, missing ones
  inserted, those with a null `_batch` deleted, equal ones left alone, so that a second run changes nothing.

  Configs: unique_key; partitioning (a list of transforms).
-#}
{% materialization converged, default %}
    {%- set columns = model.columns.values() | list -%}
    {{ run_hooks(pre_hooks) }}
    {% do ensure_table(columns) %}
    {% call statement('main') %}
        {{ merge_into(columns, sql) }}
        when matched and incoming._batch is null then delete
        when matched and ({{ differs(columns) }}) then {{ update_set(columns) }}
        when not matched and incoming._batch is not null then {{ insert_row(columns) }}
    {% endcall %}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}

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

{% macro differs(columns) -%}
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

{#- The run's batch where the row holds, null where its key has no row any more. -#}
{% macro batch_where(holds) -%}
    case when {{ holds }} then {{ batch() }} end
{%- endmacro %}

{#-
  The rows of `remade` under this run's batch, and for each affected key that has no row there any more a row
  of that key with a null `_batch`. `affected` names a CTE that holds the columns `affected_by`.

  One full join: an engine runs a CTE anew wherever it is named.
-#}
{% macro with_vanished(remade, affected, affected_by) -%}
    {%- set keys = config.require('unique_key') -%}
    {%- set names = model.columns.keys() | reject('equalto', '_batch') | list -%}
    select {{ names | join(', ') }}, {{ batch_where('remade_row.%s is not null' % keys[0]) }} as _batch
    from {{ remade }} as remade_row
    full join (
        select {{ keys | join(', ') }} from {{ this }}
        {%- if not compares_whole() %}
        where ({{ affected_by | join(', ') }}) in (select {{ affected_by | join(', ') }} from {{ affected }})
        {%- endif %}
    ) as existing using ({{ keys | join(', ') }})
{%- endmacro %}
