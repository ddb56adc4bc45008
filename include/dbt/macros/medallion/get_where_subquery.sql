{#- dbt replaces `model` in a generic test by this query. -#}
{% macro get_where_subquery(relation) -%}
    (
        select * from {{ relation }}
        where {{ config.get('where') or 'true' }}
        {%- if not config.meta_get('whole_table') %} and {{ tested_rows() }}{% endif %}
    ) as tested
{%- endmacro %}
