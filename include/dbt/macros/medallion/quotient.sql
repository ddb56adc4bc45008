{#- Trino rounds a division of decimals half up at the scale of its operands, so the dividend first gets the scale of the result. -#}
{% macro quotient(dividend, divisor, scale) -%}
    cast(
        cast({{ dividend }} as decimal(30, {{ scale }})) / nullif(cast({{ divisor }} as decimal(18, 0)), 0)
        as decimal(18, {{ scale }})
    )
{%- endmacro %}
