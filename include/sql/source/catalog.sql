{#- PostgreSQL, the source: kind, rights and columns of tables. Given: `tables`, a list of (schema, name).
    The statement is that of a macro of dbt, which reads the tables by it. -#}
{% from 'source_catalog.sql' import source_catalog -%}
{{ source_catalog(tables) }}
