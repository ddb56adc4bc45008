{% macro quoted(names, alias=none) -%}
    {%- set quoted_names = [] -%}
    {%- for name in names -%}
        {%- do quoted_names.append((alias ~ '.' if alias else '') ~ quote_identifier(name)) -%}
    {%- endfor -%}
    {{ return(quoted_names) }}
{%- endmacro %}

{#- `adapter.quote` does not escape a quotation mark within the name. -#}
{% macro quote_identifier(name) -%}
    {%- set mark = adapter.quote('')[0] -%}
    {{ return(adapter.quote(name | replace(mark, mark * 2))) }}
{%- endmacro %}

{% macro text_literal(text) -%}
    {#- In Spark a backslash escapes the character that follows. -#}
    {%- set text = text | replace('\\', '\\\\') if target.type == 'spark' else text -%}
    {{ return("'" ~ escape_single_quotes(text) ~ "'") }}
{%- endmacro %}

{#- A name as PostgreSQL's quoted identifier. In Airflow's templates the function `quote` of engines/postgres.py has this name. -#}
{% macro postgres_name(name) -%}
    {{ return('"' ~ name | replace('"', '""') ~ '"') }}
{%- endmacro %}

{#-
  A text as PostgreSQL's literal, which means the same whether or not the server treats a backslash as an escape. In
  Airflow's templates the function `literal` of engines/postgres.py has this name.
-#}
{% macro postgres_literal(text) -%}
    {%- set escaped = text | replace('\\', '\\\\') | replace("'", "''") -%}
    {{ return(('E' if '\\' in text else '') ~ "'" ~ escaped ~ "'") }}
{%- endmacro %}

{% macro postgres_table(relation) -%}
    {{ return(postgres_name(relation.schema) ~ '.' ~ postgres_name(relation.identifier)) }}
{%- endmacro %}

{#- Trino passes the query to PostgreSQL unchanged; names in it are PostgreSQL's, and keep their upper and lower case. -#}
{% macro on_source(relation, query) -%}
    {{ return('table(' ~ quote_identifier(relation.database) ~ '.system.query(query => ' ~ text_literal(query) ~ '))') }}
{%- endmacro %}
