{#- In a failing row `_broken` names the promises that it breaks. -#}
{% test valid_rows(model, not_null=[], at_least={}, within={}, one_of={}) %}
{%- set promises = [] -%}
{%- for column in not_null %}{% do promises.append((column, " is null")) %}{% endfor -%}
{%- for column, minimum in at_least.items() %}{% do promises.append((column, " < " ~ minimum)) %}{% endfor -%}
{%- for column, bounds in within.items() %}{% do promises.append((column, " not between " ~ bounds | join(" and "))) %}{% endfor -%}
{%- for column, values in one_of.items() %}
    {%- set literals = [] -%}
    {%- for value in values %}{% do literals.append(text_literal(value | string)) %}{% endfor -%}
    {%- do promises.append((column, " not in (" ~ literals | join(", ") ~ ")")) -%}
{% endfor -%}
with judged as (
    select
        concat_ws(
            ', '
            {%- for column, breach in promises %},
            case when {{ quote_identifier(column) ~ breach }} then {{ text_literal(column ~ breach) }} end
            {%- endfor %}
        ) as _broken,
        *
    from {{ model }}
),

final as (
    select * from judged where _broken <> ''
)

select * from final
{% endtest %}
