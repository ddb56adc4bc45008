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

{#- Keys of this table's own rows that runs wrote since the last publication: what a run that never published left. -#}
{% macro unpublished_keys(keys) -%}
    select {{ keys | join(', ') }} from {{ this }} where {{ is_changed() }}
{%- endmacro %}

{#- The run's batch where the row holds, null where its key has no row any more. -#}
{% macro batch_if(holds) -%}
    case when {{ holds }} then {{ batch() }} end
{%- endmacro %}

{#-
  The rows of `rebuilt` under this run's batch, and for each affected key that has no row there any more a row
  of that key with a null `_batch`. `affected` names a CTE that holds the columns `affected_by`.

  One full join: an engine runs a CTE anew wherever it is named.
-#}
{% macro with_deleted_keys(rebuilt, affected, affected_by) -%}
    {%- set keys = config.require('unique_key') -%}
    {%- set names = model.columns.keys() | reject('equalto', '_batch') | list -%}
    select {{ names | join(', ') }}, {{ batch_if('rebuilt_row.%s is not null' % keys[0]) }} as _batch
    from {{ rebuilt }} as rebuilt_row
    full join (
        select {{ keys | join(', ') }} from {{ this }}
        {%- if not compares_whole() %}
        where ({{ affected_by | join(', ') }}) in (select {{ affected_by | join(', ') }} from {{ affected }})
        {%- endif %}
    ) as existing using ({{ keys | join(', ') }})
{%- endmacro %}
