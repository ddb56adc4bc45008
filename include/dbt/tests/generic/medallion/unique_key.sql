{#- Each key of a row in scope is counted in the whole table: a run may have changed only one of two equal keys. -#}
{% test unique_key(model, columns) %}
{{ config(meta={'whole_table': true}) }}
{%- set keys = quoted(columns) | join(', ') %}
with keyed as (
    select * from {{ model }}
),

in_scope as (
    select distinct {{ keys }}
    from keyed
    where {{ tested_rows() }}
),

final as (
    select {{ keys }}, count(*) as occurrences
    from keyed
    where ({{ keys }}) in (select {{ keys }} from in_scope)
    group by {{ keys }}
    having count(*) > 1
)

select * from final
{% endtest %}
