{#- PostgreSQL, the source: kind, rights and columns of tables. Given: `tables`, a list of (schema, name).
    The statement is a macro of dbt, because the bronze models use it, too. -#}
{% from 'source_catalog.sql' import source_catalog -%}
{{ source_catalog(tables) }}
