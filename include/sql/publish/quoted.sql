{#- Quote a name, so that Trino and PostgreSQL read it literally. -#}
{%- macro quoted(name) -%}"{{ name | replace('"', '""') }}"{%- endmacro -%}

{%- macro quoted_list(names) -%}
{%- for name in names %}{{ quoted(name) }}{{ ', ' if not loop.last }}{% endfor -%}
{%- endmacro -%}
