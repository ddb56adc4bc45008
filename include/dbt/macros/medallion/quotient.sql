{#-
  a / b for whole numbers and decimals(…, 2), exact, rounded once, half away from zero; null where b is 0.
  Trino rounds a decimal division half up at the scale of its operands, so the dividend is widened first.
-#}
{% macro quotient(dividend, divisor, scale) -%}
    cast(
        cast({{ dividend }} as decimal(30, {{ scale }})) / nullif(cast({{ divisor }} as decimal(18, 0)), 0)
        as decimal(18, {{ scale }})
    )
{%- endmacro %}
