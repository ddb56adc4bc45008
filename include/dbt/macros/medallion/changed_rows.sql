{#- For incremental models: the rows that changed since the last publication, and the table in its state at that time. -#}

{% macro compares_whole() -%}
    {%- set layers = {'none': [], 'gold': ['gold'], 'silver': ['silver', 'gold']} -%}
    {{ return(
        model.schema in layers[run_context().compare_whole]
        or table_name(this) in run_context().outdated
        or table_name(this) not in run_context().snapshots
        or definition_changed()
    ) }}
{%- endmacro %}

{% macro is_changed() -%}
    {{ 'true' if compares_whole() else '_batch > ' ~ run_context().published_batch }}
{%- endmacro %}

{% macro as_published(relation) -%}
    {%- set snapshot = none if compares_whole() else run_context().snapshots.get(table_name(relation)) -%}
    {%- if not snapshot -%}
        (select * from {{ relation }} where false)
    {%- else -%}
        (select * from {{ relation }} {{ 'for ' if target.type == 'trino' }}version as of {{ snapshot }})
    {%- endif -%}
{%- endmacro %}

{#-
  Keys of the rows that runs wrote since the last publication. Such a key may have appeared in the input and disappeared
  again: then neither the current nor the published input has it, and only this query finds the row to delete.
-#}
{% macro unpublished_keys(keys) -%}
    {{ select_own_keys(keys) }} {{ 'and ' ~ is_changed() if not compares_whole() }}
{%- endmacro %}

{#- The keys that this table has; none if the table is about to be replaced, because its key may have other types. -#}
{% macro select_own_keys(keys) -%}
    {%- if definition_changed() -%}
        select
            {% for key in keys -%}
            cast(null as {{ model.columns[key].data_type }}) as {{ quote_identifier(key) }}{{ ',' if not loop.last }}
            {% endfor -%}
        where false
    {%- else -%}
        select {{ quoted(keys) | join(', ') }} from {{ this }} where true
    {%- endif -%}
{%- endmacro %}

{% macro batch_if(has_row) -%}
    case when {{ has_row }} then {{ batch() }} end
{%- endmacro %}

{#- One full join reads each CTE once, because an engine computes a CTE again for each use. -#}
{% macro with_deleted_keys(rebuilt, affected, affected_by) -%}
    {%- set keys = quoted(key_columns()) -%}
    {%- set columns = quoted(model.columns.keys() | reject('equalto', '_batch')) -%}
    {%- set affected_keys = quoted(affected_by) | join(', ') -%}
    select {{ columns | join(', ') }}, {{ batch_if('rebuilt_row.%s is not null' % keys[0]) }} as _batch
    from {{ rebuilt }} as rebuilt_row
    full join (
        {{ select_own_keys(key_columns()) }}
        {%- if not compares_whole() %}
        and ({{ affected_keys }}) in (select {{ affected_keys }} from {{ affected }})
        {%- endif %}
    ) as existing using ({{ keys | join(', ') }})
{%- endmacro %}
