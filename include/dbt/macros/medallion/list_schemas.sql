{#-
  dbt asks each time it starts which schemas exist, to create the missing ones; on Spark that takes a session of its
  own. A model creates its layer's schema together with its table, so dbt creates only schemas that are not a layer's.
-#}
{% macro list_schemas(database) -%}
    {{ return([['bronze'], ['silver'], ['gold']]) }}
{%- endmacro %}
