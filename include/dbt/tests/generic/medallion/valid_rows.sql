{#-
  Every row keeps what its columns promise; in a failing row `broken` tells which promises it breaks.

  Arguments: not_null (columns), at_least (column: minimum), within (column: [minimum, maximum], both included),
  one_of (column: values). Null breaks nothing but not_null.
-#}
{% test valid_rows(model, not_null=[], at_least={}, within={}, one_of={}) %}
{%- set breaches = [] -%}
{%- for column in not_null %}{% do breaches.append(column ~ " is null") %}{% endfor -%}
{%- for column, minimum in at_least.items() %}{% do breaches.append(column ~ " < " ~ minimum) %}{% endfor -%}
{%- for column, bounds in within.items() %}{% do breaches.append(column ~ " not between " ~ bounds | join(" and ")) %}{% endfor -%}
{%- for column, values in one_of.items() %}{% do breaches.append(column ~ " not in ('" ~ values | join("', '") ~ "')") %}{% endfor -%}
with judged as (
    select
        concat_ws(
            ', '
            {%- for breach in breaches %},
            case when {{ breach }} then '{{ breach | replace("'", "''") }}' end
            {%- endfor %}
        ) as broken,
        *
    from {{ model }}
),

final as (
    select * from judged where broken <> ''
)

select * from final
{% endtest %}
