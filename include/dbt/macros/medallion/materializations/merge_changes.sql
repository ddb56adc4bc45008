{#-
  Materialization `merge_changes`: one statement in one atomic commit, whatever state the table was in. It updates
  rows that differ, inserts missing rows, and deletes rows that the table should no longer have. It leaves equal rows
  unchanged, so a second run changes nothing.

  - A plain model selects every row that the table should have. Its YAML lists no column `_batch`.
  - A model of changed keys selects the rows that these keys should have now, with a column `_batch`, which its YAML
    lists. A key without a row comes as a row whose `_batch` is null (see `batch_if` and `with_deleted_keys`).

  A table whose columns, types or key differ from the model's YAML is replaced as a whole, so that no row keeps a value
  of the earlier definition.

  Configs: unique_key; partitioning (a list of transforms).
-#}
{% materialization merge_changes, default %}
    {% do require_run() %}
    {%- set columns = table_columns() -%}
    {%- set rows = all_rows(columns, sql) if is_plain() else rows_of_changed_keys(columns, sql) -%}
    {{ run_hooks(pre_hooks) }}
    {%- if definition_changed() -%}
        {{ log(table_name(this) ~ ': replaces the table, because its columns or its key are not those of the model', info=true) }}
        {% call statement('main') %}{{ replace_iceberg_table(rows) }}{% endcall %}
        {% for column in columns -%}
            {% call statement('comment') %}{{ comment_on_column(column) }}{% endcall %}
        {% endfor -%}
    {%- else -%}
        {%- if not lake_columns() -%}
            {% do create_table(columns) %}
        {%- elif not lake_key() -%}
            {% for column in columns if column.name in key_columns() -%}
                {% call statement('comment') %}{{ comment_on_column(column) }}{% endcall %}
            {% endfor -%}
        {%- endif -%}
        {% call statement('main') %}
            {{ merge_into(columns, with_vanished_keys(columns, rows) if is_plain() else rows) }}
            when matched and incoming._batch is null then delete
            {% if updated_columns(columns) != ['_batch'] -%}
            when matched and ({{ row_differs(columns) }}) then {{ update_set(columns) }}
            {% endif -%}
            when not matched and incoming._batch is not null then {{ insert_row(columns) }}
        {% endcall %}
    {%- endif -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}

{% macro is_plain() -%}
    {{ return('_batch' not in model.columns) }}
{%- endmacro %}

{% macro rows_of_changed_keys(columns, select_sql) -%}
    select
        {% for column in columns if column.name != '_batch' -%}
        {{ declared_value(column) }} as {{ quote_identifier(column.name) }},
        {% endfor -%}
        case
            {% for key in key_columns() -%}
            when {{ quote_identifier(key) }} is null then {{ fail_with([table_name(this) ~ ': a row' ~ lacks_key(key)]) }}
            {% endfor -%}
            else _batch
        end as _batch
    from (
        {{ select_sql }}
    ) as computed
{%- endmacro %}

{% macro all_rows(columns, select_sql) -%}
    {%- set selected_types = check_types(columns, select_sql) -%}
    {%- set row_count = 'cast(_copies as ' ~ type_string() ~ ')' -%}
    {%- set key_names = key_columns() | join(', ') -%}
    select
        {% for column in columns if column.name != '_batch' -%}
        {{ declared_value(column, selected_types[column.name]) }} as {{ quote_identifier(column.name) }},
        {% endfor -%}
        case
            {% for key in key_columns() -%}
            when {{ quote_identifier(key) }} is null
                then {{ fail_with([table_name(this) ~ ': ', row_count, ' row(s)' ~ lacks_key(key)]) }}
            {% endfor -%}
            when _copies > 1
                then {{ fail_with([
                    table_name(this) ~ ': ', row_count, ' rows have the same key (' ~ key_names ~ '). Nothing was written.'
                    ~ ' Group by exactly these columns, or add to unique_key the columns that distinguish the rows.'
                ]) }}
            else {{ batch() }}
        end as _batch
    from (
        select *, count(*) over (partition by {{ quoted(key_columns()) | join(', ') }}) as _copies
        from (
            {{ select_sql }}
        ) as selected
    ) as computed
{%- endmacro %}

{% macro lacks_key(key) -%}
    {{ return(
        ' with a null in the key column ' ~ key ~ '. Nothing was written. Use coalesce(' ~ key
        ~ ', …) in the model, or leave such rows out.'
    ) }}
{%- endmacro %}

{% macro with_vanished_keys(columns, rows) -%}
    {%- set keys = quoted(key_columns()) | join(', ') -%}
    select {{ quoted(columns | map(attribute='name')) | join(', ') }}
    from (
        {{ rows }}
    ) as present
    full join (select {{ keys }} from {{ this }}) as existing using ({{ keys }})
{%- endmacro %}
