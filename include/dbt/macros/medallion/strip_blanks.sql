{#-
  The same as in medallion_spark/conversion.py, which strips every text at the end: a select needs it only if it
  computes with the stripped text.
-#}
{% macro strip_blanks(text) -%}
    {%- set blank = '[\\s\\p{Z}\\p{C}&&[^\\p{Cs}\\p{Cn}]]' -%}
    nullif(regexp_replace({{ text }}, r'^{{ blank }}+|(?<!{{ blank }}){{ blank }}+$', ''), '')
{%- endmacro %}
