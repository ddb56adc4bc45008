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

{% macro postgres_table(relation) -%}
    {{ return('"' ~ relation.schema | replace('"', '""') ~ '"."' ~ relation.identifier | replace('"', '""') ~ '"') }}
{%- endmacro %}

{#- Trino passes the query to PostgreSQL unchanged; names in it are PostgreSQL's, and keep their upper and lower case. -#}
{% macro on_source(relation, query) -%}
    {{ return('table(' ~ quote_identifier(relation.database) ~ '.system.query(query => ' ~ text_literal(query) ~ '))') }}
{%- endmacro %}
