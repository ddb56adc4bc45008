{#-
  Materialization `merge_changes`: one MERGE in one atomic commit, whatever state the table was in.

  The model selects the rows that its changed keys should have now. A key that has no row any more comes as a row
  whose `_batch` is null (see `batch_if` and `with_deleted_keys`). Differing rows are updated, missing ones inserted,
  those with a null `_batch` deleted, and equal ones left unchanged: a second run changes nothing.

  Configs: unique_key; partitioning (a list of transforms).
-#}
{% materialization merge_changes, default %}
    {%- set columns = model.columns.values() | list -%}
    {{ run_hooks(pre_hooks) }}
    {% do ensure_table(columns) %}
    {% call statement('main') %}
        {{ merge_into(columns, sql) }}
        when matched and incoming._batch is null then delete
        when matched and ({{ row_differs(columns) }}) then {{ update_set(columns) }}
        when not matched and incoming._batch is not null then {{ insert_row(columns) }}
    {% endcall %}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}
