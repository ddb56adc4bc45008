{#- PostgreSQL, the source: kind, rights and columns of tables. Given: `tables`, a list of (schema, name).
    A macro of dbt makes the statement, because bronze's models use it, too. -#}
{% from 'source_catalog.sql' import source_catalog -%}
{{ source_catalog(tables) }}
