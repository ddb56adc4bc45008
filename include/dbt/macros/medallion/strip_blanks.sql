{#-
  Does the same as `strip_blanks` in medallion_spark/conversion.py. The Spark job strips each text that a select
  returns, so a select needs this macro only to compute with the stripped text.
-#}
{% macro strip_blanks(text) -%}
    {%- set blank = '[\\s\\p{Z}\\p{C}&&[^\\p{Cs}\\p{Cn}]]' -%}
    nullif(regexp_replace({{ text }}, r'^{{ blank }}+|(?<!{{ blank }}){{ blank }}+$', ''), '')
{%- endmacro %}
