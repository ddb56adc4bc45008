{#- The test reads the whole table, because after an hour without changes no row is in scope. -#}
{% test recency(model, column_name, hours) %}
{{ config(meta={'whole_table': true}) }}
with recent as (
    select * from {{ model }}
    where {{ column_name }} > current_timestamp - interval '{{ hours }}' hour
),

final as (
    select count(*) as recent_rows
    from recent
    having count(*) = 0
)

select * from final
{% endtest %}
