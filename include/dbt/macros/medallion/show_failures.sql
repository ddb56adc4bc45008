{#- At the end of an invocation: the first rows that each test found into the log, and the query that gives all. -#}
{% macro show_failures(results) -%}
    {%- for result in results if result.node.resource_type == 'test' and result.status in ['fail', 'warn'] -%}
        {%- set failing = result.node.compiled_code | trim -%}
        {{ log(result.node.name ~ ': ' ~ result.status ~ '. All its rows:\n' ~ failing ~ '\nThe first of them:', info=true) }}
        {%- set first = run_query('select * from (' ~ failing ~ ') as failing limit 5') -%}
        {%- do first.print_table(max_columns=50, max_column_width=40) -%}
    {%- endfor -%}
{%- endmacro %}
