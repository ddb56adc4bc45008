{#- No two rows share the key: counted over the whole table, for the keys of the rows in scope. -#}
{% test unique_key(model, columns) %}
{{ config(meta={'whole_table': true}) }}
with keyed as (
    select * from {{ model }}
),

in_scope as (
    select distinct {{ columns | join(', ') }}
    from keyed
    where {{ tested_rows() }}
),

final as (
    select {{ columns | join(', ') }}, count(*) as occurrences
    from keyed
    where ({{ columns | join(', ') }}) in (select {{ columns | join(', ') }} from in_scope)
    group by {{ columns | join(', ') }}
    having count(*) > 1
)

select * from final
{% endtest %}
